//! Suspected data loss: signs that the store lost its newest changes. While it is suspected, nothing is written until an operator accepts
//! the loss (docs/guarantees.md#g1b).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Reason, Result};

/// The command with which an operator accepts the loss.
const COMMAND: &str = "policyhub epoch bump --accept-loss";

/// The signs that the newest changes were lost.
#[derive(Debug, Default)]
pub(in crate::store) struct SuspectedLoss(Mutex<Signs>);

#[derive(Debug, Default)]
struct Signs {
    other_system: Option<String>,
    lost_tail: Option<String>,
    /// Number of connections that led to another database so far.
    wrong_connections: u64,
}

impl SuspectedLoss {
    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a connection led to another database.
    pub(in crate::store) fn other_system(&self, seen: String) {
        let was = {
            let mut signs = self.signs();
            signs.wrong_connections += 1;
            signs.other_system.replace(seen.clone())
        };
        if was.as_ref() != Some(&seen) {
            tracing::error!(seen, "the store is in doubt and read-only; find out what was lost, then run `{COMMAND}`");
        }
    }

    /// Records that a log lost its tail. Several logs may have: each check finds one of them, and the first is logged.
    pub(in crate::store) fn lost_tail(&self, seen: String) {
        if self.signs().lost_tail.replace(seen.clone()).is_none() {
            tracing::error!(seen, "the store is in doubt and read-only; find out what was lost, then run `{COMMAND}`");
        }
    }

    pub(in crate::store) fn wrong_connections(&self) -> u64 {
        self.signs().wrong_connections
    }

    /// Ends the suspicion, unless a connection led to another database after `wrong_connections` was read.
    pub(in crate::store) fn clear(&self, wrong_connections: u64) {
        let mut signs = self.signs();
        if signs.wrong_connections == wrong_connections {
            *signs = Signs { wrong_connections, ..Signs::default() };
            tracing::warn!("the store is in doubt no more: writes go on");
        }
    }

    pub(in crate::store) fn seen(&self) -> Option<String> {
        let signs = self.signs();
        let texts: Vec<&str> =
            [&signs.other_system, &signs.lost_tail].into_iter().filter_map(Option::as_deref).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Refuses a write while data loss is suspected.
    pub(in crate::store) fn check(&self) -> Result<()> {
        match self.seen() {
            Some(seen) => Err(Error::new(
                Reason::StoreInDoubt,
                format!(
                    "the store may have lost its newest changes and is read-only: {seen}; the operator runs `{COMMAND}`"
                ),
            )),
            None => Ok(()),
        }
    }
}
