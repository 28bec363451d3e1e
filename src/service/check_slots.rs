//! The slots in which checks run, fair between namespaces.
//!
//! A check can't be stopped: a schema of a few kilobytes can keep one busy for ever. So a namespace has half of the slots at
//! most, and a check that nobody waits for any more gives its slot back while it runs on. Its namespace does not get that
//! back: whoever sets such schemas stops the checks of one namespace.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};

/// Versions checked at once. More: hostile schemas burn more cores. Fewer: releases wait for each other.
const CHECKS_AT_ONCE_MAX: usize = 4;
/// Checks of one namespace that run at once, those included that nobody waits for.
const NAMESPACE_CHECKS_MAX: usize = 2;
/// Checks that run on without a slot. When there are more, they keep their slots: more would take all cores.
const ABANDONED_MAX: u64 = 8;
/// How long the checks of one version may take, the wait for their turn included.
const CHECKS_TIMEOUT: Duration = Duration::from_secs(10);
/// Namespaces from which on those without checks are looked for.
const SWEEP_MIN_NAMESPACES: usize = 1_024;

/// The slots.
#[derive(Debug)]
pub(super) struct CheckSlots {
    all: Arc<Semaphore>,
    of_namespaces: Mutex<HashMap<NamespaceId, Weak<Semaphore>>>,
    abandoned: Arc<Abandoned>,
}

impl Default for CheckSlots {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(CHECKS_AT_ONCE_MAX));
        Self { all, of_namespaces: Mutex::default(), abandoned: Arc::default() }
    }
}

/// Checks that nobody waits for.
#[derive(Debug, Default)]
struct Abandoned {
    total: AtomicU64,
    running: AtomicU64,
}

/// The slot of one check, shared by the thread that runs it and the call that waits for it.
#[derive(Debug)]
struct Slot {
    held: Mutex<Held>,
    abandoned: Arc<Abandoned>,
}

#[derive(Debug)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    is_abandoned: bool,
    has_ended: bool,
}

impl Slot {
    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The check has ended, by whatever way.
    fn end(&self) {
        self.change(|held| {
            held.has_ended = true;
            held.permit = None;
            if held.is_abandoned {
                self.abandoned.running.fetch_sub(1, Ordering::Relaxed);
            }
        });
    }

    /// Nobody waits for the check.
    fn abandon(&self) {
        self.change(|held| {
            if held.has_ended {
                return;
            }
            held.is_abandoned = true;
            self.abandoned.total.fetch_add(1, Ordering::Relaxed);
            if self.abandoned.running.fetch_add(1, Ordering::Relaxed) < ABANDONED_MAX {
                held.permit = None;
            }
        });
    }
}

/// Ends a slot when the thread is done, also by a panic.
struct Running(Arc<Slot>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Gives a slot back when the call is gone or out of time.
struct Waiting(Arc<Slot>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl CheckSlots {
    /// Runs a check for a namespace, apart from the threads that serve.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when it takes too long. It runs on then, as it does when this is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        namespace: &NamespaceId,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let checked = async {
            let own = self.of(namespace).acquire_owned().await;
            let permit = Arc::clone(&self.all).acquire_owned().await;
            let held = Held { permit: permit.ok(), is_abandoned: false, has_ended: false };
            let slot = Arc::new(Slot { held: Mutex::new(held), abandoned: Arc::clone(&self.abandoned) });
            let (running, _waiting) = (Running(Arc::clone(&slot)), Waiting(slot));
            let run = tokio::task::spawn_blocking(move || {
                let found = check();
                drop((running, own));
                found
            });
            run.await.map_err(|error| Error::internal(format!("a check ended early: {error}")))
        };
        let seconds = CHECKS_TIMEOUT.as_secs();
        tokio::time::timeout(CHECKS_TIMEOUT, checked).await.unwrap_or_else(|_| {
            let message = format!("the checks took over {seconds} s; simplify the schema, or try again later");
            Err(Error::new(Reason::LimitExceeded, message).with("limit_seconds", seconds))
        })
    }

    /// Checks that nobody waited for to their end: all so far, and those that run still.
    pub(super) fn abandoned(&self) -> (u64, u64) {
        (self.abandoned.total.load(Ordering::Relaxed), self.abandoned.running.load(Ordering::Relaxed))
    }

    fn of(&self, namespace: &NamespaceId) -> Arc<Semaphore> {
        let mut all = self.of_namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get(namespace).and_then(Weak::upgrade) {
            return own;
        }
        if all.len() >= SWEEP_MIN_NAMESPACES {
            all.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(NAMESPACE_CHECKS_MAX));
        all.insert(namespace.clone(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn namespace(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    /// A check that runs until its sender is dropped, or is told to end.
    fn endless(started: &mpsc::Sender<()>) -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (end, ends) = mpsc::channel();
        let started = started.clone();
        (end, move || {
            started.send(()).expect("somebody counts");
            let _ = ends.recv();
        })
    }

    /// Checks of one namespace that never end: the slots of the others are theirs, and its own come back when they end.
    #[tokio::test(flavor = "multi_thread")]
    async fn one_namespace_has_half_of_the_places() {
        let slots = Arc::new(CheckSlots::default());
        let (started, starts) = mpsc::channel();
        let mut ends = Vec::new();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..CHECKS_AT_ONCE_MAX {
            let (end, check) = endless(&started);
            ends.push(end);
            let slots = Arc::clone(&slots);
            calls.spawn(async move { slots.run(&namespace("hostile"), check).await });
        }
        for _ in 0..NAMESPACE_CHECKS_MAX {
            starts.recv().expect("one that runs");
        }
        assert_eq!(slots.all.available_permits(), CHECKS_AT_ONCE_MAX - NAMESPACE_CHECKS_MAX);
        assert_eq!(slots.run(&namespace("other"), || 7).await.expect("a slot"), 7);
        // Their callers are gone: the slots come back, the checks run on.
        calls.shutdown().await;
        assert_eq!(slots.abandoned(), (2, 2));
        assert_eq!(slots.all.available_permits(), CHECKS_AT_ONCE_MAX);
        assert_eq!(slots.of(&namespace("hostile")).available_permits(), 0, "the namespace waits for its own");
        drop(ends);
        slots.run(&namespace("hostile"), || ()).await.expect("a slot, once they ended");
        while slots.abandoned().1 > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slots.abandoned(), (2, 0));
    }

    #[tokio::test]
    async fn namespaces_without_checks_are_forgotten() {
        let slots = CheckSlots::default();
        for number in 0..2 * SWEEP_MIN_NAMESPACES {
            drop(slots.of(&namespace(&format!("n{number}"))));
        }
        assert!(slots.of_namespaces.lock().expect("a lock").len() <= SWEEP_MIN_NAMESPACES);
    }
}
