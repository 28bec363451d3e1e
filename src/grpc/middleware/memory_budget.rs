//! Decides how much of a memory budget each caller may have: the rules of [`super::in_flight`], without waiting.
//!
//! Invariants: each caller has a share, and the memory that it takes leaves at least as much to others; the last part is for small calls
//! only. So the next caller gets memory, however many callers fill their shares.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

/// A caller that has no more than this in total may also use the last part of the memory. More: few callers empty that part. Less: calls
/// about one policy or version wait behind large ones.
pub(super) const SMALL_MAX_BYTES: u64 = 256 * 1024;
/// The last part, for small calls only, is a sixteenth of the memory.
const SMALL_PART: u64 = 16;

/// The pool from which a call takes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pool {
    /// The caller's own share, for the largest possible size of a call.
    Share,
    /// The memory of the server, for the received bytes of a call.
    Memory,
}

/// The limits of a budget.
#[derive(Debug, Clone, Copy)]
pub(super) struct BudgetSizes {
    pub(super) total_bytes: u64,
    /// The share of one caller.
    pub(super) share_bytes: u64,
    /// How many calls may wait for memory at once.
    pub(super) waiting_max: usize,
    /// How many calls of one caller may wait for its share at once.
    pub(super) share_waiting_max: usize,
}

/// The use of one caller.
#[derive(Debug, Default)]
struct CallerUse {
    share_bytes: u64,
    memory_bytes: u64,
    /// Its calls that wait for its share, in the order of arrival. What others release is nothing to them.
    share_queue: VecDeque<QueuedCall>,
    /// Number of its calls that wait for memory.
    memory_waits: usize,
}

#[derive(Debug)]
struct QueuedCall {
    number: u64,
    bytes: u64,
    granted: oneshot::Sender<()>,
}

/// The entry of a call in the queue.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) granted: oneshot::Receiver<()>,
}

/// The result of taking bytes.
#[derive(Debug)]
pub(super) enum Admission {
    Granted,
    Queued(Ticket),
    /// Too many calls wait already.
    TooMany,
}

/// A budget of memory, and the queue for it.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    sizes: BudgetSizes,
    free_bytes: u64,
    /// The callers that have taken bytes or wait.
    callers: HashMap<String, CallerUse>,
    /// The calls that wait for memory with their callers, in the order of arrival.
    memory_queue: VecDeque<(String, QueuedCall)>,
    next_number: u64,
}

impl MemoryBudget {
    pub(super) fn new(sizes: BudgetSizes) -> Self {
        let free_bytes = sizes.total_bytes;
        Self { sizes, free_bytes, callers: HashMap::new(), memory_queue: VecDeque::new(), next_number: 0 }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.sizes.total_bytes - self.free_bytes
    }

    /// Returns how many calls wait for memory.
    pub(super) fn memory_waits(&self) -> usize {
        self.memory_queue.len()
    }

    #[cfg(test)]
    pub(super) fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Takes bytes of a pool at once, or queues the call until others have released them.
    pub(super) fn take_or_queue(&mut self, caller: &str, pool: Pool, bytes: u64) -> Admission {
        if self.fits(caller, pool, bytes) {
            self.take(caller, pool, bytes);
            return Admission::Granted;
        }
        let own_waits = self.callers.get(caller).map_or(0, |own| own.share_queue.len());
        let (waits, max) = match pool {
            Pool::Share => (own_waits, self.sizes.share_waiting_max),
            Pool::Memory => (self.memory_queue.len(), self.sizes.waiting_max),
        };
        if waits >= max {
            return Admission::TooMany;
        }
        self.next_number += 1;
        let ((granted, grants), number) = (oneshot::channel(), self.next_number);
        let call = QueuedCall { number, bytes, granted };
        let own = self.callers.entry(caller.to_owned()).or_default();
        match pool {
            Pool::Share => own.share_queue.push_back(call),
            Pool::Memory => {
                own.memory_waits += 1;
                self.memory_queue.push_back((caller.to_owned(), call));
            }
        }
        Admission::Queued(Ticket { number, granted: grants })
    }

    /// Takes bytes of memory and share, if they are free now. Returns whether they were.
    pub(super) fn try_take(&mut self, caller: &str, bytes: u64) -> bool {
        let fits = self.fits(caller, Pool::Memory, bytes) && self.fits(caller, Pool::Share, bytes);
        if fits {
            self.take(caller, Pool::Memory, bytes);
            self.take(caller, Pool::Share, bytes);
        }
        fits
    }

    /// Removes a call from the queue. Releases its bytes when they were granted meanwhile.
    pub(super) fn cancel(&mut self, number: u64, caller: &str, pool: Pool, bytes: u64) {
        let was_queued = match pool {
            Pool::Share => self.callers.get_mut(caller).is_some_and(|own| {
                let index = own.share_queue.iter().position(|call| call.number == number);
                index.and_then(|index| own.share_queue.remove(index)).is_some()
            }),
            Pool::Memory => {
                let index = self.memory_queue.iter().position(|(_, call)| call.number == number);
                index.and_then(|index| self.leave_memory_queue(index)).is_some()
            }
        };
        if !was_queued {
            return self.release(caller, pool, bytes);
        }
        self.forget(caller);
    }

    /// Releases bytes, and grants queued calls that now fit, in the order of arrival. A call that is too large for the free bytes does not
    /// delay those behind it.
    pub(super) fn release(&mut self, caller: &str, pool: Pool, bytes: u64) {
        let Some(own) = self.callers.get_mut(caller) else { return };
        match pool {
            Pool::Share => {
                own.share_bytes = own.share_bytes.saturating_sub(bytes);
                own.grant_share(self.sizes.share_bytes);
            }
            Pool::Memory => {
                own.memory_bytes = own.memory_bytes.saturating_sub(bytes);
                self.free_bytes += bytes;
                self.grant_memory();
            }
        }
        self.forget(caller);
    }

    fn grant_memory(&mut self) {
        let mut index = 0;
        while let Some((caller, call)) = self.memory_queue.get(index) {
            if !self.fits(caller, Pool::Memory, call.bytes) {
                index += 1;
            } else if let Some((caller, call)) = self.leave_memory_queue(index) {
                self.take(&caller, Pool::Memory, call.bytes);
                // A call that was cancelled meanwhile releases it when its ticket is dropped.
                let _ = call.granted.send(());
            }
        }
    }

    fn leave_memory_queue(&mut self, index: usize) -> Option<(String, QueuedCall)> {
        let (caller, call) = self.memory_queue.remove(index)?;
        if let Some(own) = self.callers.get_mut(&caller) {
            own.memory_waits -= 1;
        }
        Some((caller, call))
    }

    fn fits(&self, caller: &str, pool: Pool, bytes: u64) -> bool {
        let own = self.callers.get(caller);
        if pool == Pool::Share {
            return own.is_none_or(|own| own.share_fits(bytes, self.sizes.share_bytes));
        }
        let Some(left) = self.free_bytes.checked_sub(bytes) else { return false };
        let own = own.map_or(0, |own| own.memory_bytes).saturating_add(bytes);
        own <= SMALL_MAX_BYTES || own <= left.saturating_sub(self.sizes.total_bytes / SMALL_PART)
    }

    fn take(&mut self, caller: &str, pool: Pool, bytes: u64) {
        let own = self.callers.entry(caller.to_owned()).or_default();
        match pool {
            Pool::Share => own.share_bytes += bytes,
            Pool::Memory => {
                own.memory_bytes += bytes;
                self.free_bytes -= bytes;
            }
        }
    }

    /// Removes a caller that has taken nothing and waits for nothing.
    fn forget(&mut self, caller: &str) {
        if self.callers.get(caller).is_some_and(CallerUse::is_idle) {
            self.callers.remove(caller);
        }
    }
}

impl CallerUse {
    /// Returns whether bytes are left of the share. One call always fits: it would wait forever.
    fn share_fits(&self, bytes: u64, share_max_bytes: u64) -> bool {
        self.share_bytes == 0 || self.share_bytes.saturating_add(bytes) <= share_max_bytes
    }

    fn grant_share(&mut self, share_max_bytes: u64) {
        let mut index = 0;
        while let Some(call) = self.share_queue.get(index) {
            if !self.share_fits(call.bytes, share_max_bytes) {
                index += 1;
            } else if let Some(call) = self.share_queue.remove(index) {
                self.share_bytes += call.bytes;
                // A call that was cancelled meanwhile releases it when its ticket is dropped.
                let _ = call.granted.send(());
            }
        }
    }

    fn is_idle(&self) -> bool {
        (self.share_bytes, self.memory_bytes, self.memory_waits) == (0, 0, 0) && self.share_queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn budget() -> MemoryBudget {
        let (total_bytes, share_bytes) = (256 * MIB, 32 * MIB);
        MemoryBudget::new(BudgetSizes { total_bytes, share_bytes, waiting_max: 8, share_waiting_max: 4 })
    }

    fn is_granted(admission: &Admission) -> bool {
        matches!(admission, Admission::Granted)
    }

    /// Given 60 callers that take all that they get, shares shrink, and the next caller has memory for a small call.
    #[test]
    fn shares_shrink_and_the_next_caller_gets_memory() {
        let mut budget = budget();
        let mut taken = Vec::new();
        for number in 0..60 {
            let caller = format!("caller{number}");
            let before = budget.free_bytes();
            while budget.try_take(&caller, MIB / 4) {}
            taken.push(before - budget.free_bytes());
            assert!(is_granted(&budget.take_or_queue(&format!("next{number}"), Pool::Memory, SMALL_MAX_BYTES / 4)));
            budget.release(&format!("next{number}"), Pool::Memory, SMALL_MAX_BYTES / 4);
        }
        assert_eq!(taken[..6], [32 * MIB; 6]);
        assert!(taken.windows(2).all(|pair| pair[1] <= pair[0]), "{taken:?}");
        assert!(taken[8] < taken[5] && taken[59] <= SMALL_MAX_BYTES, "{taken:?}");
    }

    /// Given a large call that waits, a later small one does not wait behind it.
    #[test]
    fn small_calls_do_not_wait_behind_large_ones() {
        let mut budget = budget();
        for caller in ["a", "b", "c", "d", "e", "f"] {
            assert!(is_granted(&budget.take_or_queue(caller, Pool::Memory, 32 * MIB)));
        }
        let Admission::Queued(mut large) = budget.take_or_queue("g", Pool::Memory, 30 * MIB) else {
            panic!("there is no memory for it")
        };
        assert!(is_granted(&budget.take_or_queue("h", Pool::Memory, SMALL_MAX_BYTES)));
        assert_eq!(budget.memory_waits(), 1);
        budget.release("a", Pool::Memory, 32 * MIB);
        large.granted.try_recv().expect("memory for it now");
        assert_eq!((budget.memory_waits(), budget.free_bytes()), (0, 256 * MIB - 190 * MIB - SMALL_MAX_BYTES));
    }

    #[test]
    fn a_cancelled_wait_leaves_nothing() {
        let mut budget = budget();
        assert!(is_granted(&budget.take_or_queue("a", Pool::Share, 32 * MIB)));
        let Admission::Queued(one) = budget.take_or_queue("a", Pool::Share, MIB) else { panic!("the share is full") };
        let Admission::Queued(two) = budget.take_or_queue("a", Pool::Share, MIB) else { panic!("the share is full") };
        assert!(matches!(budget.take_or_queue("a", Pool::Share, MIB), Admission::Queued(_)));
        budget.cancel(one.number, "a", Pool::Share, MIB);
        budget.release("a", Pool::Share, 32 * MIB);
        // It was granted, and no call received it.
        budget.cancel(two.number, "a", Pool::Share, MIB);
        budget.release("a", Pool::Share, MIB);
        assert_eq!((budget.callers(), budget.free_bytes()), (0, 256 * MIB));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut budget = budget();
        assert!(is_granted(&budget.take_or_queue("a", Pool::Share, 32 * MIB)));
        let waiting: Vec<_> = (0..4).map(|_| budget.take_or_queue("a", Pool::Share, MIB)).collect();
        assert!(waiting.iter().all(|admission| matches!(admission, Admission::Queued(_))));
        assert!(matches!(budget.take_or_queue("a", Pool::Share, MIB), Admission::TooMany));
        assert!(is_granted(&budget.take_or_queue("b", Pool::Share, MIB)), "it is the share of another");
    }

    #[test]
    fn one_call_fits_whatever_its_size() {
        let mut budget = budget();
        assert!(is_granted(&budget.take_or_queue("a", Pool::Share, 40 * MIB)), "it would wait forever");
        assert!(matches!(budget.take_or_queue("a", Pool::Share, 1), Admission::Queued(_)));
    }

    /// Given large callers that have taken all but the last part, small ones can use it.
    #[test]
    fn the_last_part_is_for_small_calls() {
        let mut budget = budget();
        let mut callers = 0;
        while budget.try_take(&format!("large{callers}"), SMALL_MAX_BYTES + 1) {
            callers += 1;
        }
        assert!(budget.free_bytes() >= 16 * MIB, "{}", budget.free_bytes());
        for number in 0..16 * MIB / SMALL_MAX_BYTES {
            assert!(budget.try_take(&format!("small{number}"), SMALL_MAX_BYTES), "{number}");
        }
    }

    /// Given calls that wait for memory, their number is limited and they are served in the order of arrival.
    #[test]
    fn calls_are_served_in_the_order_of_arrival() {
        let mut budget = budget();
        let mut callers = 0;
        while budget.try_take(&format!("holds{callers}"), MIB) {
            callers += 1;
        }
        let mut tickets = Vec::new();
        for number in 0..8 {
            let Admission::Queued(ticket) = budget.take_or_queue(&format!("waits{number}"), Pool::Memory, 2 * MIB)
            else {
                panic!("there is no memory for it")
            };
            tickets.push(ticket);
        }
        assert!(matches!(budget.take_or_queue("late", Pool::Memory, 2 * MIB), Admission::TooMany));
        for held in 0..8 {
            budget.release(&format!("holds{held}"), Pool::Memory, MIB);
            let granted: Vec<bool> = tickets.iter_mut().map(|ticket| ticket.granted.try_recv().is_ok()).collect();
            let first = granted.iter().position(|granted| *granted);
            assert!(first.is_none_or(|first| first == 0), "{granted:?} after {held}");
            tickets.drain(..granted.iter().filter(|granted| **granted).count());
        }
        assert!(tickets.len() < 8, "some were served");
    }

    /// Given a first call that is too large for the released memory, a later one gets it.
    #[test]
    fn no_call_waits_behind_one_that_is_too_large() {
        let mut budget = budget();
        let mut callers = 0;
        while budget.try_take(&format!("holds{callers}"), 4 * MIB) {
            callers += 1;
        }
        let Admission::Queued(mut large) = budget.take_or_queue("large", Pool::Memory, 32 * MIB) else {
            panic!("there is no memory")
        };
        let Admission::Queued(mut later) = budget.take_or_queue("later", Pool::Memory, 4 * MIB) else {
            panic!("there is no memory")
        };
        let mut held = 0;
        while later.granted.try_recv().is_err() {
            budget.release(&format!("holds{held}"), Pool::Memory, 4 * MIB);
            held += 1;
            assert!(large.granted.try_recv().is_err(), "the large one came first, and fits only later");
        }
        assert_eq!(budget.memory_waits(), 1);
    }
}
