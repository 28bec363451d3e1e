//! Why a call gets no connection: what a probe was refused for, or what the calls that have the connections wait for.

use std::sync::atomic::{AtomicU64, Ordering};

use sea_orm::DbErr;
use tokio::sync::watch;

use crate::domain::Reason;
use crate::store::error::code_of;
use crate::store::health::error_codes;

/// What probes and statements found out.
#[derive(Debug, Default)]
pub(in crate::store) struct ConnectionCauses {
    /// Probes begun.
    probes: AtomicU64,
    /// The last probe that ended.
    probed: watch::Sender<Probed>,
    /// The last statement that was given up for a lock.
    lock_timeout: watch::Sender<Option<DbErr>>,
}

/// A probe that ended.
#[derive(Debug, Default)]
struct Probed {
    /// Its number; they are numbered from 1 in the order in which they begin.
    number: u64,
    /// What the database refused it for, if it did.
    refused_for: Option<DbErr>,
}

/// What is found out while a call waits for a connection.
#[derive(Debug)]
pub(in crate::store) struct CauseWatch {
    probed: watch::Receiver<Probed>,
    lock_timeout: watch::Receiver<Option<DbErr>>,
}

impl CauseWatch {
    /// Answers why a call that waited in vain got no connection; waits for it if need be. What a probe was refused for that ended
    /// during its wait; otherwise what one is refused for that begins after the `begun` ones, since the call failed: what an older
    /// one found may be over. Where that is let in, the lock for which a call that had a connection was given up.
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
    /// A call begins to wait.
    pub(in crate::store) fn watch(&self) -> CauseWatch {
        CauseWatch { probed: self.probed.subscribe(), lock_timeout: self.lock_timeout.subscribe() }
    }

    /// Probes begun so far.
    pub(in crate::store) fn begun(&self) -> u64 {
        self.probes.load(Ordering::SeqCst)
    }

    /// What the last probe was refused for, if it was.
    pub(in crate::store) fn last_refusal(&self) -> Option<DbErr> {
        self.probed.borrow().refused_for.clone()
    }

    /// A probe begins; answers its number.
    pub(in crate::store) fn begin_probe(&self) -> u64 {
        self.probes.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A probe ended.
    pub(in crate::store) fn end_probe(&self, number: u64, refused_for: Option<DbErr>) {
        self.probed.send_replace(Probed { number, refused_for });
    }

    /// Notes a statement that the database gave up for a lock; any other error is nothing here.
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

    /// What a call hears, if it waits no longer, that failed now.
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

    /// What a future answers without waiting.
    fn answer_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
