//! Slots that are shared fairly by keys: each key has at most its share of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{Error, Reason, Result};

/// Number of keys from which idle ones are removed.
const SWEEP_MIN_KEYS: usize = 1_024;

/// Slots that are shared fairly by keys.
#[derive(Debug)]
pub struct FairSlots<K> {
    all: Arc<Semaphore>,
    own_max: usize,
    of_keys: Mutex<HashMap<K, Weak<Semaphore>>>,
}

/// A slot, held until it is dropped.
#[derive(Debug)]
pub struct FairSlot {
    _own: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl<K: Clone + Eq + Hash> FairSlots<K> {
    /// Creates `all_max` slots, of which one key has at most `own_max`.
    #[must_use]
    pub fn new(all_max: usize, own_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all_max)), own_max, of_keys: Mutex::default() }
    }

    /// Waits for a slot of a key, in the order of the calls. A waiting call holds no slot.
    ///
    /// # Errors
    /// `INTERNAL` when the slots were closed, which never happens.
    pub async fn take(&self, key: &K) -> Result<FairSlot> {
        let own = self.of(key).acquire_owned().await;
        // Wait for this after the key's own permit: a key that waits for itself must not hold a slot of the others.
        let of_all = Arc::clone(&self.all).acquire_owned().await;
        let taken = own.and_then(|own| Ok(FairSlot { _own: own, _of_all: of_all? }));
        taken.map_err(|error| Error::internal(format!("no slots: {error}")))
    }

    /// Takes a slot of a key if one is free now, for somebody who had better come again than wait. `what` is what a slot is for, as in
    /// "another search of yours runs".
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when none is free.
    pub fn try_take(&self, key: &K, what: &str) -> Result<FairSlot> {
        self.take(key).now_or_never().unwrap_or_else(|| {
            let message = format!(
                "another {what} of yours runs, or as many as may run on this server: try again when one has ended"
            );
            Err(Error::new(Reason::LimitExceeded, message))
        })
    }

    /// Returns the number of free slots.
    #[cfg(test)]
    pub fn free(&self) -> usize {
        self.all.available_permits()
    }

    fn of(&self, key: &K) -> Arc<Semaphore> {
        let mut all = self.of_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get(key).and_then(Weak::upgrade) {
            return own;
        }
        if all.len() >= SWEEP_MIN_KEYS {
            all.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(self.own_max));
        all.insert(key.clone(), Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_key_leaves_slots_to_others() {
        let slots = FairSlots::new(2, 1);
        let held = slots.take(&"noisy").now_or_never().expect("a slot");
        assert!(slots.take(&"noisy").now_or_never().is_none(), "it has its part");
        let other = slots.take(&"other").now_or_never().expect("a slot of the others");
        assert!(slots.take(&"third").now_or_never().is_none(), "all are taken");
        drop(held);
        drop(other);
        assert!(slots.take(&"noisy").now_or_never().is_some());
    }

    #[tokio::test]
    async fn keys_without_slots_are_forgotten() {
        let slots = FairSlots::new(2, 1);
        for number in 0..2 * SWEEP_MIN_KEYS {
            drop(slots.of(&number));
        }
        assert!(slots.of_keys.lock().expect("a lock").len() <= SWEEP_MIN_KEYS);
    }
}
