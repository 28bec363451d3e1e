//! Reserves memory for requests in flight and for answers: limits the memory of all of them together, and of each caller.
//!
//! A call first claims a part of its caller's share, for its largest possible size, and then reserves memory for the bytes that it has
//! received. So bytes that are only announced make no other call wait. `grpc::middleware::memory_budget` decides how much each caller may
//! have.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::memory_budget::{Admission, BudgetSizes, MemoryBudget, Pool};
use crate::domain::limits::{
    IMPORT_REQUEST_MAX_BYTES, MESSAGE_DECODED_PER_BYTE_MAX, MESSAGE_MAX_BYTES, REQUEST_DECODED_EXTRA_MAX_BYTES,
};
use crate::domain::{Error, Reason, Result};

/// How many calls may wait for memory at once, without those that wait for a share. More: callers wait that could use another replica.
const WAITING_MAX_CALLS: usize = 1_024;
/// How many requests of one caller may wait for its share.
const REQUEST_SHARE_WAITING_MAX: usize = 64;
/// How many calls of one caller may wait for its share of the answers. Each has only its request in memory.
const ANSWER_SHARE_WAITING_MAX: usize = 512;
/// How long a call waits for memory: less than the body timeout, so that the caller gets this reason.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The time after which a caller may retry.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// One caller may have an eighth of the memory, but always enough for the largest call.
const SHARES: u64 = 8;
/// The largest request, including its decoded form.
const LARGEST_REQUEST_BYTES: u64 =
    (1 + MESSAGE_DECODED_PER_BYTE_MAX) * IMPORT_REQUEST_MAX_BYTES as u64 + REQUEST_DECODED_EXTRA_MAX_BYTES;
/// The largest answer: the message and its encoded bytes.
pub(in crate::grpc) const LARGEST_ANSWER_BYTES: u64 = 2 * MESSAGE_MAX_BYTES as u64;
/// The smallest budget that a server may have: the largest requests of two callers fit.
pub const IN_FLIGHT_MIN_BYTES: u64 = 32 * 1024 * 1024;
/// The largest budget that a server may have.
pub const IN_FLIGHT_MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;

const _: () = assert!(2 * LARGEST_REQUEST_BYTES <= IN_FLIGHT_MIN_BYTES);

/// The counters of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlightCounts {
    /// Bytes that are reserved now.
    pub used_bytes: u64,
    /// Calls that were refused so far.
    pub refusals: u64,
    /// Bodies and answers that were ended so far because they stalled.
    pub given_up: u64,
}

/// A budget of memory. Clones are the same one.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<InFlightState>);

#[derive(Debug)]
struct InFlightState {
    /// What the memory is for, in the error text.
    what: &'static str,
    largest_bytes: u64,
    budget: Mutex<MemoryBudget>,
    /// How many calls wait for memory.
    memory_waits: watch::Sender<usize>,
    refusals: AtomicU64,
    given_up: AtomicU64,
}

/// Memory that stays reserved until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    in_flight: InFlight,
    caller: String,
    share_bytes: u64,
    memory_bytes: u64,
}

impl InFlight {
    /// Creates a budget of `bytes` for requests.
    #[must_use]
    pub fn of_requests(bytes: u64) -> Self {
        Self::new("requests", bytes, LARGEST_REQUEST_BYTES, REQUEST_SHARE_WAITING_MAX)
    }

    /// Creates a budget of `bytes` for answers.
    #[must_use]
    pub fn of_answers(bytes: u64) -> Self {
        Self::new("answers", bytes, LARGEST_ANSWER_BYTES, ANSWER_SHARE_WAITING_MAX)
    }

    fn new(what: &'static str, bytes: u64, largest_bytes: u64, share_waiting_max: usize) -> Self {
        let total_bytes = bytes.clamp(IN_FLIGHT_MIN_BYTES, IN_FLIGHT_MAX_BYTES);
        let share_bytes = (total_bytes / SHARES).max(largest_bytes);
        let sizes = BudgetSizes { total_bytes, share_bytes, waiting_max: WAITING_MAX_CALLS, share_waiting_max };
        Self(Arc::new(InFlightState {
            what,
            largest_bytes,
            budget: Mutex::new(MemoryBudget::new(sizes)),
            memory_waits: watch::Sender::default(),
            refusals: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }))
    }

    fn budget(&self) -> MutexGuard<'_, MemoryBudget> {
        self.0.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the budget, and publishes how many calls wait for memory.
    fn change<T>(&self, change: impl FnOnce(&mut MemoryBudget) -> T) -> T {
        let mut budget = self.budget();
        let changed = change(&mut budget);
        let waits = budget.memory_waits();
        self.0.memory_waits.send_if_modified(|seen| std::mem::replace(seen, waits) != waits);
        changed
    }

    /// Waits for a part of a caller's share, for a call that may grow to `bytes`. Memory is reserved later, as it is needed.
    ///
    /// # Errors
    /// `REQUEST_BUDGET_EXHAUSTED` when too many calls wait already, or it takes too long.
    pub async fn claim(&self, caller: &str, bytes: u64) -> Result<Reserved> {
        // No call is larger. A larger claim would wait forever.
        let bytes = bytes.min(self.0.largest_bytes);
        if !self.wait(caller, Pool::Share, bytes).await {
            return Err(self.exhausted(caller, "the caller"));
        }
        Ok(Reserved { in_flight: self.clone(), caller: caller.to_owned(), share_bytes: bytes, memory_bytes: 0 })
    }

    /// Waits for a part of a caller's share and for memory, both of `bytes`.
    ///
    /// # Errors
    /// The same as `claim`.
    pub async fn reserve(&self, caller: &str, bytes: u64) -> Result<Reserved> {
        let mut reserved = self.claim(caller, bytes).await?;
        reserved.grow_to(bytes).await?;
        Ok(reserved)
    }

    /// Waits until a call waits for memory.
    pub async fn contended(&self) {
        // The sender lives as long as `self`, so this can't fail.
        let _ = self.0.memory_waits.subscribe().wait_for(|waits| *waits > 0).await;
    }

    /// Counts a body or an answer that was ended because it stalled.
    pub(super) fn count_given_up(&self) {
        self.0.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many bytes are not reserved.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.budget().free_bytes()
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> InFlightCounts {
        InFlightCounts {
            used_bytes: self.budget().used_bytes(),
            refusals: self.0.refusals.load(Ordering::Relaxed),
            given_up: self.0.given_up.load(Ordering::Relaxed),
        }
    }

    /// Waits for bytes of a pool. Returns whether they were granted.
    async fn wait(&self, caller: &str, pool: Pool, bytes: u64) -> bool {
        let mut ticket = match self.change(|budget| budget.take_or_queue(caller, pool, bytes)) {
            Admission::Granted => return true,
            Admission::TooMany => return false,
            Admission::Queued(ticket) => ticket,
        };
        let mut waits = QueuedWait { in_flight: self, number: ticket.number, caller, pool, bytes, has_ended: false };
        waits.has_ended = matches!(timeout(WAIT_MAX, &mut ticket.granted).await, Ok(Ok(())));
        waits.has_ended
    }

    /// Returns the error for a call for which there is no memory.
    pub(super) fn exhausted(&self, subject: &str, owner: &str) -> Error {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
        let what = self.0.what;
        let message = format!("{owner} is at its limit of bytes of {what} in flight: try again later");
        let error = Error::new(Reason::RequestBudgetExhausted, message).with("subject", subject);
        Error { retry_after: Some(RETRY_AFTER), ..error }
    }

    /// Returns the error for a request that stalled while others waited for its memory.
    pub(super) fn preempted(&self) -> Error {
        self.count_given_up();
        let message = "the request stalled while others waited for its memory: send it again, without a pause";
        let error = Error::new(Reason::RequestBudgetExhausted, message).with("subject", "server");
        Error { retry_after: Some(RETRY_AFTER), ..error }
    }
}

/// A wait in the queue of the budget. When it is dropped before it has ended, it leaves the queue.
struct QueuedWait<'a> {
    in_flight: &'a InFlight,
    number: u64,
    caller: &'a str,
    pool: Pool,
    bytes: u64,
    has_ended: bool,
}

impl Drop for QueuedWait<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.in_flight.change(|budget| budget.cancel(self.number, self.caller, self.pool, self.bytes));
        }
    }
}

impl Reserved {
    /// Waits until `bytes` of memory are reserved in total, but no more than was claimed.
    ///
    /// # Errors
    /// The same as `InFlight::claim`.
    pub async fn grow_to(&mut self, bytes: u64) -> Result<()> {
        let more = bytes.min(self.share_bytes).saturating_sub(self.memory_bytes);
        if more > 0 && !self.in_flight.wait(&self.caller, Pool::Memory, more).await {
            return Err(self.in_flight.exhausted("server", "the server"));
        }
        self.memory_bytes += more;
        Ok(())
    }

    /// Makes the reservation exactly `bytes`: releases the excess, or takes the missing bytes, if they are free now.
    ///
    /// # Errors
    /// The same as `InFlight::claim`.
    pub(in crate::grpc) fn resize(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.memory_bytes {
            let more = bytes - self.memory_bytes;
            if !self.in_flight.change(|budget| budget.try_take(&self.caller, more)) {
                return Err(self.in_flight.exhausted("server", "the server or the caller"));
            }
            self.memory_bytes += more;
            self.share_bytes += more;
            return Ok(());
        }
        self.shrink_to(bytes);
        Ok(())
    }

    /// Releases memory and share above `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        self.release(self.share_bytes.saturating_sub(bytes), self.memory_bytes.saturating_sub(bytes));
    }

    fn release(&mut self, share_bytes: u64, memory_bytes: u64) {
        self.share_bytes -= share_bytes;
        self.memory_bytes -= memory_bytes;
        self.in_flight.change(|budget| {
            budget.release(&self.caller, Pool::Share, share_bytes);
            budget.release(&self.caller, Pool::Memory, memory_bytes);
        });
    }

    /// Returns the budget of this reservation.
    pub(super) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.release(self.share_bytes, self.memory_bytes);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[tokio::test]
    async fn a_reservation_is_released_and_callers_are_forgotten() {
        let budget = InFlight::of_requests(IN_FLIGHT_MIN_BYTES);
        let one = budget.reserve("ann", MIB).await.expect("room");
        let mut two = budget.reserve("ann", MIB).await.expect("room");
        assert_eq!(budget.free_bytes(), IN_FLIGHT_MIN_BYTES - 2 * MIB);
        drop(one);
        two.resize(MIB / 2).expect("less");
        assert_eq!((budget.counts().used_bytes, budget.budget().callers()), (MIB / 2, 1));
        two.resize(2 * MIB).expect("room for more");
        assert_eq!(budget.counts().used_bytes, 2 * MIB);
        drop(two);
        assert_eq!((budget.free_bytes(), budget.budget().callers()), (IN_FLIGHT_MIN_BYTES, 0));
    }

    /// Given a caller that has filled its share, its next request waits, and those of others do not.
    #[tokio::test]
    async fn a_full_share_makes_nobody_else_wait() {
        let budget = InFlight::of_requests(256 * MIB);
        let mut held = Vec::new();
        for _ in 0..32 {
            held.push(budget.reserve("ann", MIB).await.expect("room in the share"));
        }
        let mut waits: Vec<_> = (0..REQUEST_SHARE_WAITING_MAX).map(|_| Box::pin(budget.reserve("ann", MIB))).collect();
        assert!(waits.iter_mut().all(|wait| wait.now_or_never().is_none()), "the share is full");
        let refused = budget.reserve("ann", 1).await.expect_err("too many wait");
        assert_eq!((refused.reason, refused.metadata["subject"].as_str()), (Reason::RequestBudgetExhausted, "ann"));
        for number in 0..200 {
            held.push(budget.reserve(&format!("bob{number}"), MIB).await.expect("room for others"));
        }
    }

    /// Given announced bytes, they count against their caller's share, and use no memory.
    #[tokio::test]
    async fn announced_bytes_take_no_memory() {
        let budget = InFlight::of_requests(256 * MIB);
        let mut held = Vec::new();
        for number in 0..12 {
            for _ in 0..8 {
                held.push(budget.claim(&format!("caller{number}"), 4 * MIB).await.expect("room in the share"));
            }
        }
        assert_eq!(budget.free_bytes(), 256 * MIB);
        held[0].grow_to(3 * MIB).await.expect("room");
        held[0].grow_to(5 * MIB).await.expect("no more than was claimed");
        assert_eq!(budget.free_bytes(), 252 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_a_bound() {
        let budget = InFlight::of_requests(IN_FLIGHT_MIN_BYTES);
        let mut contended = Box::pin(budget.contended());
        let _held = (budget.reserve("a", 13 * MIB).await, budget.reserve("b", 8 * MIB).await);
        assert!(contended.as_mut().now_or_never().is_none());
        let mut waits = Box::pin(budget.reserve("c", 8 * MIB));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(contended.now_or_never().is_some(), "somebody waits");
        let refused = waits.await.expect_err("no room within the time");
        assert_eq!((refused.reason, refused.retry_after), (Reason::RequestBudgetExhausted, Some(RETRY_AFTER)));
        assert_eq!(budget.counts(), InFlightCounts { used_bytes: 21 * MIB, refusals: 1, given_up: 0 });
        assert!(budget.contended().now_or_never().is_none(), "nobody waits any more");
    }
}
