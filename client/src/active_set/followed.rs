//! The pinned keys of a set, as its key statements have changed them.

use policyhub_core::signing::PinnedKeys;

/// The pinned keys of a set.
#[derive(Debug)]
pub(super) struct Followed {
    pub keys: PinnedKeys,
    /// Says whether they changed since they were last saved.
    pub unsaved: bool,
}
