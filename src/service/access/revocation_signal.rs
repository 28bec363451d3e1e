//! The signal that revocations changed, for the server, which keeps them in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::revocation::Revocation;

/// The signal that revocations changed.
#[derive(Debug, Default)]
pub struct RevocationSignal {
    pub(super) changed: Notify,
    /// Revocations that are in the log and whose rows were deleted.
    pub(super) lost: Mutex<Vec<Revocation>>,
}

impl RevocationSignal {
    /// Reports revocations whose rows were deleted: they stay in force.
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
