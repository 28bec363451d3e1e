//! Doubt: signs that the store lost its tail. In doubt nothing is written until an operator accepts the loss (docs/guarantees.md#g1b).

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Reason, Result};

/// What an operator runs.
const COMMAND: &str = "policyhub epoch bump --accept-loss";

/// What speaks for a lost tail.
#[derive(Debug, Default)]
pub(in crate::store) struct Doubt(Mutex<Signs>);

#[derive(Debug, Default)]
struct Signs {
    other_incarnation: Option<String>,
    lost_tail: Option<String>,
    /// Connections that led elsewhere, so far.
    led_elsewhere: u64,
}

impl Doubt {
    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection led to another database.
    pub(in crate::store) fn other_incarnation(&self, seen: String) {
        let was = {
            let mut signs = self.signs();
            signs.led_elsewhere += 1;
            signs.other_incarnation.replace(seen.clone())
        };
        if was.as_ref() != Some(&seen) {
            tracing::error!(seen, "the store is in doubt and read-only; find out what was lost, then run `{COMMAND}`");
        }
    }

    /// A log lost its end. Several may have: each look tells of one of them, and it is said once.
    pub(in crate::store) fn lost_tail(&self, seen: String) {
        if self.signs().lost_tail.replace(seen.clone()).is_none() {
            tracing::error!(seen, "the store is in doubt and read-only; find out what was lost, then run `{COMMAND}`");
        }
    }

    pub(in crate::store) fn led_elsewhere(&self) -> u64 {
        self.signs().led_elsewhere
    }

    /// Ends the doubt, unless a connection led elsewhere after `led_elsewhere` was read.
    pub(in crate::store) fn clear(&self, led_elsewhere: u64) {
        let mut signs = self.signs();
        if signs.led_elsewhere == led_elsewhere {
            *signs = Signs { led_elsewhere, ..Signs::default() };
            tracing::warn!("the store is in doubt no more: writes go on");
        }
    }

    pub(in crate::store) fn seen(&self) -> Option<String> {
        let signs = self.signs();
        let texts: Vec<&str> =
            [&signs.other_incarnation, &signs.lost_tail].into_iter().filter_map(Option::as_deref).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Refuses a write in doubt.
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
