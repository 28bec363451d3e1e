//! What this replica has to tell whoever keeps the revocations in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::revocation::Revocation;

/// What this replica has to tell whoever keeps the revocations in memory.
#[derive(Debug, Default)]
pub struct Revoking {
    pub(super) changed: Notify,
    /// Revocations that the log says and whose row is gone.
    pub(super) lost: Mutex<Vec<Revocation>>,
}

impl Revoking {
    /// Tells of revocations whose row is gone: they go on to count.
    pub fn note_lost(&self, revocations: Vec<Revocation>) {
        if !revocations.is_empty() {
            *self.lost() = revocations;
            self.changed.notify_one();
        }
    }

    pub(super) fn lost(&self) -> MutexGuard<'_, Vec<Revocation>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
