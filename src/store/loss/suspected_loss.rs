//! Suspected data loss: signs that the store lost its newest changes. While it is suspected, nothing is written until an operator accepts
//! the loss (docs/guarantees.md#g1b), or the log that was seen is back, and keys and revocations, which were read of another one meanwhile, are
//! read again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{Error, Reason, Result};

/// The command with which an operator accepts the loss.
const COMMAND: &str = "policyhub epoch bump --accept-loss";

/// What a suspicion ends with.
const REREADING: &str = "keys and revocations are being read again";

/// The signs that the newest changes were lost.
#[derive(Debug, Default)]
pub(in crate::store) struct SuspectedLoss {
    signs: Mutex<Signs>,
    /// Signals that a reread is pending.
    reread_due: Notify,
}

#[derive(Debug, Default)]
struct Signs {
    other_system: Option<String>,
    lost_tail: Option<String>,
    /// Number of signs recorded so far.
    count: u64,
    /// Whether the signs are gone, but keys and revocations were not read again since.
    is_reread_pending: bool,
    /// Number of times that the signs were gone, or the suspicion ended.
    generation: u64,
}

impl Signs {
    fn has_any(&self) -> bool {
        self.other_system.is_some() || self.lost_tail.is_some()
    }

    fn text(&self) -> Option<String> {
        let texts: Vec<&str> = [&self.other_system, &self.lost_tail].into_iter().filter_map(Option::as_deref).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

impl SuspectedLoss {
    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a connection led to another database.
    pub(in crate::store) fn other_system(&self, seen: String) {
        let was = {
            let mut signs = self.signs();
            signs.count += 1;
            signs.other_system.replace(seen.clone())
        };
        if was.as_ref() != Some(&seen) {
            tracing::error!(seen, "the store is in doubt and read-only; find out what was lost, then run `{COMMAND}`");
        }
    }

    /// Records that a log lost its tail. Several logs may have: each check finds one of them, and the first is logged.
    pub(in crate::store) fn lost_tail(&self, seen: String) {
        let was = {
            let mut signs = self.signs();
            signs.count += 1;
            signs.lost_tail.replace(seen.clone())
        };
        if was.is_none() {
            tracing::error!(seen, "the store is in doubt and read-only; find out what was lost, then run `{COMMAND}`");
        }
    }

    pub(in crate::store) fn sign_count(&self) -> u64 {
        self.signs().count
    }

    /// Drops the signs, unless another one was recorded after `sign_count` was read. The suspicion ends after the next reread.
    pub(in crate::store) fn clear(&self, sign_count: u64) {
        let mut signs = self.signs();
        if signs.has_any() && signs.count == sign_count {
            let generation = signs.generation + 1;
            *signs = Signs { count: sign_count, is_reread_pending: true, generation, ..Signs::default() };
            tracing::info!(
                "the log that was seen is there: reading again the keys and revocations that were read in doubt"
            );
            self.reread_due.notify_one();
        }
    }

    pub(in crate::store) fn has_signs(&self) -> bool {
        self.signs().has_any()
    }

    pub(in crate::store) fn signs_text(&self) -> Option<String> {
        self.signs().text()
    }

    /// Returns the generation whose keys and revocations must be read again; none when no reread is pending.
    pub(in crate::store) fn pending_reread(&self) -> Option<u64> {
        let signs = self.signs();
        (signs.is_reread_pending && !signs.has_any()).then_some(signs.generation)
    }

    /// Waits until a reread is pending. Cancel-safe.
    pub(in crate::store) async fn reread_due(&self) {
        self.reread_due.notified().await;
    }

    /// Ends the suspicion after a reread, unless there were other signs meanwhile.
    pub(in crate::store) fn finish_reread(&self, generation: u64) {
        let mut signs = self.signs();
        if signs.is_reread_pending && !signs.has_any() && signs.generation == generation {
            (signs.is_reread_pending, signs.generation) = (false, generation + 1);
            tracing::warn!("the store is no longer in doubt: writes go on");
        }
    }

    pub(in crate::store) fn generation(&self) -> u64 {
        self.signs().generation
    }

    pub(in crate::store) fn seen(&self) -> Option<String> {
        let signs = self.signs();
        signs.text().or_else(|| signs.is_reread_pending.then(|| REREADING.to_owned()))
    }

    /// Refuses a write while data loss is suspected.
    pub(in crate::store) fn check(&self) -> Result<()> {
        let (text, is_reread_pending) = {
            let signs = self.signs();
            (signs.text(), signs.is_reread_pending)
        };
        match text {
            Some(seen) => Err(Error::new(
                Reason::StoreInDoubt,
                format!(
                    "the store may have lost its newest changes and is read-only: {seen}; the operator runs `{COMMAND}`"
                ),
            )),
            None if is_reread_pending => Err(was_in_doubt()),
            None => Ok(()),
        }
    }

    /// Refuses a write by a caller who was authorized in another generation: by what another log said, maybe.
    pub(in crate::store) fn check_generation(&self, generation: u64) -> Result<()> {
        if self.generation() == generation { Ok(()) } else { Err(was_in_doubt()) }
    }
}

fn was_in_doubt() -> Error {
    Error::new(Reason::StoreInDoubt, format!("the store was in doubt until now, and {REREADING}; try again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(signs: &SuspectedLoss) -> u64 {
        signs.lost_tail("a log ends early".to_owned());
        signs.sign_count()
    }

    #[test]
    fn a_suspicion_ends_after_a_reread() {
        let signs = SuspectedLoss::default();
        let before = signs.generation();
        let count = lost(&signs);
        assert!(signs.pending_reread().is_none() && signs.check().is_err());
        signs.clear(count);
        assert!(!signs.has_signs() && signs.seen().is_some() && signs.check().is_err());
        let reread = signs.pending_reread().expect("a reread");
        signs.finish_reread(reread);
        assert!(signs.seen().is_none() && signs.pending_reread().is_none());
        signs.check().expect("writes go on");
        for generation in [before, reread] {
            let refused = signs.check_generation(generation).expect_err("what was authorized before");
            assert_eq!(refused.reason, Reason::StoreInDoubt);
        }
        signs.check_generation(signs.generation()).expect("what was authorized since");
    }

    #[test]
    fn a_sign_that_comes_meanwhile_is_kept() {
        let signs = SuspectedLoss::default();
        let count = lost(&signs);
        lost(&signs);
        signs.clear(count);
        assert!(signs.has_signs(), "it came after the logs were compared");

        signs.clear(signs.sign_count());
        let reread = signs.pending_reread().expect("a reread");
        let count = lost(&signs);
        signs.finish_reread(reread);
        assert!(signs.has_signs(), "it came during the reread");
        signs.clear(count);
        signs.finish_reread(reread);
        assert!(signs.check().is_err(), "a reread from before the sign");
        signs.clear(signs.sign_count());
        assert_ne!(signs.pending_reread(), Some(reread), "nor is one that is done asked for again");
    }
}
