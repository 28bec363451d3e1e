//! Finds out why a call gets no connection: the error with which a probe was refused, or the lock for which the open connections wait.

use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::DbErr;
use tokio::sync::watch;

use crate::domain::Reason;
use crate::store::error::code_of;
use crate::store::health::error_codes;

/// The findings of probes and statements.
#[derive(Debug, Default)]
pub(in crate::store) struct ConnectionCauses {
    /// Number of probes begun.
    probes: AtomicU64,
    /// The last probe that ended.
    probed: watch::Sender<Probed>,
    /// The last statement that was given up for a lock.
    lock_timeout: watch::Sender<Option<DbErr>>,
}

/// A probe that ended.
#[derive(Debug, Default)]
struct Probed {
    /// Number of the probe; probes are numbered from 1 in the order in which they begin.
    number: u64,
    /// The error with which the database refused it, if it did.
    refused_for: Option<DbErr>,
}

/// Observes the findings made while a call waits for a connection.
#[derive(Debug)]
pub(in crate::store) struct CauseWatch {
    probed: watch::Receiver<Probed>,
    lock_timeout: watch::Receiver<Option<DbErr>>,
}

impl CauseWatch {
    /// Returns why a call got no connection, and waits for the answer if needed. This is the refusal of a probe that ended during the
    /// call's wait; otherwise that of a probe that begins after the first `begun` ones, because what an older probe found may be over.
    /// When that probe is not refused, it is the lock for which a call with a connection was given up.
    pub(in crate::store) async fn cause(mut self, begun: u64) -> Option<DbErr> {
        if self.probed.has_changed().unwrap_or(false)
            && let Some(refused_for) = self.probed.borrow().refused_for.clone()
        {
            return Some(refused_for);
        }
        let refused_for = self.probed.wait_for(|probe| probe.number > begun).await.ok()?.refused_for.clone();
        if refused_for.is_some() {
            return refused_for;
        }
        self.lock_timeout.changed().await.ok()?;
        self.lock_timeout.borrow().clone()
    }
}

impl ConnectionCauses {
    /// Starts observing when a call begins to wait.
    pub(in crate::store) fn watch(&self) -> CauseWatch {
        CauseWatch { probed: self.probed.subscribe(), lock_timeout: self.lock_timeout.subscribe() }
    }

    /// Returns the number of probes begun so far.
    pub(in crate::store) fn begun(&self) -> u64 {
        self.probes.load(Ordering::SeqCst)
    }

    /// Returns the error with which the last probe was refused, if it was.
    pub(in crate::store) fn last_refusal(&self) -> Option<DbErr> {
        self.probed.borrow().refused_for.clone()
    }

    /// Records that a probe begins, and returns its number.
    pub(in crate::store) fn begin_probe(&self) -> u64 {
        self.probes.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Records that a probe ended.
    pub(in crate::store) fn end_probe(&self, number: u64, refused_for: Option<DbErr>) {
        self.probed.send_replace(Probed { number, refused_for });
    }

    /// Records a statement that the database gave up for a lock. Other errors are ignored.
    pub(in crate::store) fn note_lock_timeout(&self, error: &DbErr) {
        let reason =
            code_of(error).and_then(|code| error_codes::write_blocker(&code)).map(|named| named.to_error().reason);
        if reason == Some(Reason::LockTimeout) {
            self.lock_timeout.send_replace(Some(error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::RuntimeErr;

    use super::*;

    fn limit() -> DbErr {
        DbErr::Conn(RuntimeErr::Internal("no room".to_owned()))
    }

    /// Returns the cause that a call that failed now gets without waiting.
    fn cause_now(causes: &ConnectionCauses, watch: CauseWatch) -> Option<Option<DbErr>> {
        answer_now(std::pin::pin!(watch.cause(causes.begun())))
    }

    #[tokio::test]
    async fn a_cause_is_that_of_a_probe_during_the_wait_or_after_the_failure() {
        let causes = ConnectionCauses::default();
        causes.end_probe(causes.begin_probe(), Some(limit()));
        assert_eq!(cause_now(&causes, causes.watch()), None, "what a probe found before the call");
        let watch = causes.watch();
        causes.end_probe(causes.begin_probe(), Some(limit()));
        assert_eq!(cause_now(&causes, watch), Some(Some(limit())), "while it waited");
        let (watch, running) = (causes.watch(), causes.begin_probe());
        let mut cause = std::pin::pin!(watch.cause(causes.begun()));
        assert_eq!(answer_now(cause.as_mut()), None, "no probe has ended");
        causes.end_probe(running, Some(limit()));
        assert_eq!(answer_now(cause.as_mut()), None, "what a probe found that began before the failure");
        causes.end_probe(causes.begin_probe(), Some(limit()));
        assert_eq!(answer_now(cause.as_mut()), Some(Some(limit())), "after the failure");
    }

    #[tokio::test]
    async fn who_finds_no_connection_while_probes_are_let_in_waits_for_the_lock_of_the_others() {
        let (causes, locked) = (ConnectionCauses::default(), limit());
        causes.lock_timeout.send_replace(Some(locked.clone()));
        let mut cause = std::pin::pin!(causes.watch().cause(causes.begun()));
        causes.end_probe(causes.begin_probe(), None);
        assert_eq!(answer_now(cause.as_mut()), None, "that lock was before the call");
        causes.lock_timeout.send_replace(Some(locked.clone()));
        assert_eq!(answer_now(cause.as_mut()), Some(Some(locked)));
    }

    /// Returns the output of a future that is ready at its first poll.
    fn answer_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
