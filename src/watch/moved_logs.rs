//! Which logs the log follower was told have moved: those of commits of this replica, and of others that sent a notification.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::name::NamespaceId;

/// What is to be looked at, gathered until the log follower takes it.
#[derive(Debug, Default)]
pub(super) struct MovedLogs {
    moved: Mutex<Moved>,
    wake: Notify,
}

/// What is to be looked at.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// The logs that are known to have moved.
    pub(super) namespaces: BTreeSet<NamespaceId>,
    /// Whether others may have moved too, so that a poll is due.
    pub(super) poll: bool,
}

impl MovedLogs {
    fn lock(&self) -> MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds logs that moved, and wakes the follower.
    pub(super) fn add(&self, namespaces: impl IntoIterator<Item = NamespaceId>) {
        self.lock().namespaces.extend(namespaces);
        self.wake.notify_one();
    }

    /// Adds logs that the follower can't look at yet. They have to wait for its next turn.
    pub(super) fn put_back(&self, namespaces: impl IntoIterator<Item = NamespaceId>) {
        self.lock().namespaces.extend(namespaces);
    }

    /// Makes a poll due now.
    pub(super) fn poll(&self) {
        self.lock().poll = true;
        self.wake.notify_one();
    }

    /// Takes what is to be looked at.
    pub(super) fn take(&self) -> Moved {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something was added.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}
