//! What a write must know of its log before it decides.

use crate::domain::event::Head;
use crate::domain::time::Micros;

/// What a write must know of its log, read in one statement because each answer is waited for under the lock.
#[derive(Debug)]
pub(in crate::store) struct LogFacts {
    /// The time of the next event, never earlier than that of the last one.
    pub time: Micros,
    /// Whether the namespace has imports.
    pub has_imports: bool,
    /// Whether a version of the namespace requires anything of other policies.
    pub has_requirements: bool,
    /// The end of the log of `system`; none in a new store.
    pub system_head: Option<Head>,
}
