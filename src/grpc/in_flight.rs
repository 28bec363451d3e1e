//! The memory that all requests in flight may take together, and how much of it one caller may have.
//!
//! Invariants: memory is given in the order in which it was asked for; a caller waits for its own share before it waits for
//! the others', so those who fill their share keep nobody else waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::domain::limits::{IMPORT_REQUEST_MAX_BYTES, MESSAGE_DECODED_PER_BYTE_MAX, REQUEST_DECODED_EXTRA_MAX_BYTES};
use crate::domain::{Error, Reason, Result};

/// Requests that wait for memory at once, those that wait for a share not among them. More: callers wait who could ask
/// another replica.
const WAITING_MAX_REQUESTS: usize = 1_024;
/// Requests of one caller that wait for its share.
const SHARE_WAITING_MAX_REQUESTS: usize = 64;
/// How long a request waits for memory: less than its body may take, so that a caller is told what it waited for.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// When a caller may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// One caller has an eighth of the memory at most, but always room for the largest request.
const SHARES: u64 = 8;
/// The largest request there is, and what it may decode to.
const LARGEST_REQUEST_BYTES: u64 =
    (1 + MESSAGE_DECODED_PER_BYTE_MAX) * IMPORT_REQUEST_MAX_BYTES as u64 + REQUEST_DECODED_EXTRA_MAX_BYTES;
/// The least that a server can be given: room for the largest requests of two callers.
pub const IN_FLIGHT_MIN_BYTES: u64 = 32 * 1024 * 1024;
/// The most: permits are counted in 32 bits.
pub const IN_FLIGHT_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

const _: () = assert!(2 * LARGEST_REQUEST_BYTES <= IN_FLIGHT_MIN_BYTES);

/// The budget. Clones are the same one.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    bytes: Arc<Semaphore>,
    waiting: Semaphore,
    share_bytes: u64,
    /// Of the callers who have requests in flight.
    shares: Mutex<HashMap<String, Arc<Share>>>,
}

#[derive(Debug)]
struct Share {
    bytes: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Memory that is reserved until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    // Last: what it holds is given back first.
    _share: Held,
}

/// A share that is in use.
#[derive(Debug)]
struct Held {
    budget: InFlight,
    caller: String,
    share: Arc<Share>,
}

impl InFlight {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let bytes = bytes.clamp(IN_FLIGHT_MIN_BYTES, IN_FLIGHT_MAX_BYTES);
        Self(Arc::new(Budget {
            bytes: Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(Semaphore::MAX_PERMITS))),
            waiting: Semaphore::new(WAITING_MAX_REQUESTS),
            share_bytes: (bytes / SHARES).max(LARGEST_REQUEST_BYTES),
            shares: Mutex::default(),
        }))
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<String, Arc<Share>>> {
        self.0.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(&self, caller: &str) -> Held {
        let new = || {
            let bytes = usize::try_from(self.0.share_bytes).unwrap_or(Semaphore::MAX_PERMITS);
            Arc::new(Share {
                bytes: Arc::new(Semaphore::new(bytes)),
                waiting: Semaphore::new(SHARE_WAITING_MAX_REQUESTS),
            })
        };
        let share = Arc::clone(self.shares().entry(caller.to_owned()).or_insert_with(new));
        Held { budget: self.clone(), caller: caller.to_owned(), share }
    }

    /// Reserves memory for a request of a caller, and waits for it.
    ///
    /// # Errors
    /// `REQUEST_BUDGET_EXHAUSTED` when too many wait already, or it takes too long.
    pub async fn reserve(&self, caller: &str, bytes: u64) -> Result<Reserved> {
        // No request is larger; were one, it would wait for ever.
        let bytes = u32::try_from(bytes.min(LARGEST_REQUEST_BYTES)).unwrap_or(u32::MAX);
        let held = self.share(caller);
        let own = wait(&held.share.bytes, &held.share.waiting, bytes).await;
        let own = own.ok_or_else(|| exhausted(caller, "the caller has as much in flight as one caller may"))?;
        let all = wait(&self.0.bytes, &self.0.waiting, bytes).await;
        let all = all.ok_or_else(|| exhausted("server", "the server has as much in flight as it may"))?;
        Ok(Reserved { _own: own, _all: all, _share: held })
    }

    /// Bytes that nobody reserved.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        u64::try_from(self.0.bytes.available_permits()).unwrap_or(u64::MAX)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut shares = self.budget.shares();
        // That of the map and this one: nobody else can take it while the lock is held.
        if Arc::strong_count(&self.share) == 2 {
            shares.remove(&self.caller);
        }
    }
}

/// Takes permits, at once or after those who asked before; none when too many wait, or for too long.
async fn wait(bytes: &Arc<Semaphore>, waiting: &Semaphore, count: u32) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(bytes).try_acquire_many_owned(count) {
        return Some(permit);
    }
    let _waits = waiting.try_acquire().ok()?;
    timeout(WAIT_MAX, Arc::clone(bytes).acquire_many_owned(count)).await.ok()?.ok()
}

fn exhausted(subject: &str, why: &str) -> Error {
    let error = Error::new(Reason::RequestBudgetExhausted, format!("{why}: try again later")).with("subject", subject);
    Error { retry_after: Some(RETRY_AFTER), ..error }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[tokio::test]
    async fn what_is_reserved_is_given_back_and_nobody_is_remembered() {
        let budget = InFlight::new(IN_FLIGHT_MIN_BYTES);
        let one = budget.reserve("ann", MIB).await.expect("room");
        let two = budget.reserve("ann", MIB).await.expect("room");
        assert_eq!(budget.free_bytes(), IN_FLIGHT_MIN_BYTES - 2 * MIB);
        drop(one);
        assert_eq!(budget.shares().len(), 1);
        drop(two);
        assert_eq!((budget.free_bytes(), budget.shares().len()), (IN_FLIGHT_MIN_BYTES, 0));
    }

    /// One caller fills its share: its next request waits, and those of others don't.
    #[tokio::test]
    async fn a_full_share_keeps_nobody_else_waiting() {
        let budget = InFlight::new(256 * MIB);
        let mut held = Vec::new();
        for _ in 0..32 {
            held.push(budget.reserve("ann", MIB).await.expect("room in the share"));
        }
        let mut waits: Vec<_> = (0..SHARE_WAITING_MAX_REQUESTS).map(|_| Box::pin(budget.reserve("ann", MIB))).collect();
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()), "the share is full");
        let refused = budget.reserve("ann", 1).await.expect_err("too many wait");
        assert_eq!((refused.reason, refused.metadata["subject"].as_str()), (Reason::RequestBudgetExhausted, "ann"));
        for number in 0..200 {
            held.push(budget.reserve(&format!("bob{number}"), MIB).await.expect("room for others"));
        }
    }

    /// Whoever asked first is served first, however much it asked for.
    #[tokio::test]
    async fn memory_is_given_in_order() {
        let budget = InFlight::new(IN_FLIGHT_MIN_BYTES);
        let (first, second) = (budget.reserve("a", 13 * MIB).await, budget.reserve("b", 13 * MIB).await);
        let mut large = Box::pin(budget.reserve("c", 8 * MIB));
        assert!(large.as_mut().now_or_never().is_none(), "6 MiB are left");
        let mut small = Box::pin(budget.reserve("d", MIB));
        assert!(small.as_mut().now_or_never().is_none(), "it came later");
        drop(first);
        assert!(large.as_mut().now_or_never().is_some_and(|got| got.is_ok()));
        assert!(small.as_mut().now_or_never().is_some_and(|got| got.is_ok()));
        drop(second);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever() {
        let budget = InFlight::new(IN_FLIGHT_MIN_BYTES);
        let _held = (budget.reserve("a", 13 * MIB).await, budget.reserve("b", 13 * MIB).await);
        let refused = budget.reserve("c", 8 * MIB).await.expect_err("no room within the time");
        assert_eq!((refused.reason, refused.retry_after), (Reason::RequestBudgetExhausted, Some(RETRY_AFTER)));
        assert_eq!(budget.shares().len(), 2);
    }
}
