//! Who may have how much of a budget of memory: the rules of [`super::in_flight`], without waiting.
//!
//! Invariants: a caller has a share of its own, and what it takes of the memory leaves at least as much to others; the last part
//! is for small calls alone. So however many callers fill their shares, the next one has room.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

/// A caller that has no more than this in all is served from the last part of the memory too. More: few callers empty that part.
/// Less: calls of one policy or version wait behind large ones.
pub(super) const SMALL_MAX_BYTES: u64 = 256 * 1024;
/// The last part, for small calls alone: a sixteenth of the memory.
const SMALL_PART: u64 = 16;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// A part of the caller's own share, for what a call may come to.
    Share,
    /// Memory, for what is there of it.
    Memory,
}

/// How large a budget is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) total_bytes: u64,
    /// Of one caller.
    pub(super) share_bytes: u64,
    /// Asks for memory that wait at once.
    pub(super) waiting_max: usize,
    /// Asks of one caller for its share that wait at once.
    pub(super) share_waiting_max: usize,
}

/// What one caller has.
#[derive(Debug, Default)]
struct Use {
    share_bytes: u64,
    memory_bytes: u64,
    /// Its asks that wait, for its share and in all.
    share_waits: usize,
    waits: usize,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    caller: String,
    ask: Ask,
    bytes: u64,
    granted: oneshot::Sender<()>,
}

/// An ask that waits.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) granted: oneshot::Receiver<()>,
}

/// What became of an ask.
#[derive(Debug)]
pub(super) enum Asked {
    Granted,
    Waits(Ticket),
    /// So many wait already that this one does not.
    TooMany,
}

/// The budget.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    sizes: Sizes,
    free_bytes: u64,
    /// Who has something or waits.
    callers: HashMap<String, Use>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// Those of them that ask for memory.
    memory_waits: usize,
    next_number: u64,
}

impl MemoryBudget {
    pub(super) fn new(sizes: Sizes) -> Self {
        let free_bytes = sizes.total_bytes;
        Self { sizes, free_bytes, callers: HashMap::new(), waiting: VecDeque::new(), memory_waits: 0, next_number: 0 }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.sizes.total_bytes - self.free_bytes
    }

    /// Asks for memory that wait.
    pub(super) fn memory_waits(&self) -> usize {
        self.memory_waits
    }

    #[cfg(test)]
    pub(super) fn callers(&self) -> usize {
        self.callers.len()
    }

    /// Grants an ask at once, or has it wait for what others give back.
    pub(super) fn ask(&mut self, caller: &str, ask: Ask, bytes: u64) -> Asked {
        if self.fits(caller, ask, bytes) {
            self.take(caller, ask, bytes);
            return Asked::Granted;
        }
        let own_waits = self.callers.get(caller).map_or(0, |own| own.share_waits);
        let (waits, max) = match ask {
            Ask::Share => (own_waits, self.sizes.share_waiting_max),
            Ask::Memory => (self.memory_waits, self.sizes.waiting_max),
        };
        if waits >= max {
            return Asked::TooMany;
        }
        let own = self.callers.entry(caller.to_owned()).or_default();
        own.waits += 1;
        match ask {
            Ask::Share => own.share_waits += 1,
            Ask::Memory => self.memory_waits += 1,
        }
        self.next_number += 1;
        let ((granted, grants), number) = (oneshot::channel(), self.next_number);
        self.waiting.push_back(Waiting { number, caller: caller.to_owned(), ask, bytes, granted });
        Asked::Waits(Ticket { number, granted: grants })
    }

    /// Grants an ask for memory or not, at once.
    pub(super) fn ask_now(&mut self, caller: &str, bytes: u64) -> bool {
        let fits = self.fits(caller, Ask::Memory, bytes) && self.fits(caller, Ask::Share, bytes);
        if fits {
            self.take(caller, Ask::Memory, bytes);
            self.take(caller, Ask::Share, bytes);
        }
        fits
    }

    /// Ends an ask of which nobody waits for the answer. One that was granted meanwhile is given back.
    pub(super) fn cancel(&mut self, number: u64, caller: &str, ask: Ask, bytes: u64) {
        let Some(index) = self.waiting.iter().position(|waiting| waiting.number == number) else {
            return self.give_back(caller, ask, bytes);
        };
        self.waiting.remove(index);
        self.waits_no_more(caller, ask);
        self.forget(caller);
    }

    /// Takes back, and grants what there is room for now. Whoever came first is served first, but nobody waits behind an ask that
    /// is too large for what is there.
    pub(super) fn give_back(&mut self, caller: &str, ask: Ask, bytes: u64) {
        if let Some(own) = self.callers.get_mut(caller) {
            match ask {
                Ask::Share => own.share_bytes = own.share_bytes.saturating_sub(bytes),
                Ask::Memory => {
                    own.memory_bytes = own.memory_bytes.saturating_sub(bytes);
                    self.free_bytes += bytes;
                }
            }
        }
        self.forget(caller);
        for Waiting { number, caller, ask, bytes, granted } in std::mem::take(&mut self.waiting) {
            if self.fits(&caller, ask, bytes) {
                self.waits_no_more(&caller, ask);
                self.take(&caller, ask, bytes);
                // Whoever has gone meanwhile gives it back when the ticket is dropped.
                let _ = granted.send(());
            } else {
                self.waiting.push_back(Waiting { number, caller, ask, bytes, granted });
            }
        }
    }

    fn fits(&self, caller: &str, ask: Ask, bytes: u64) -> bool {
        let own = self.callers.get(caller);
        if ask == Ask::Share {
            let used = own.map_or(0, |own| own.share_bytes);
            return used == 0 || used.saturating_add(bytes) <= self.sizes.share_bytes;
        }
        let Some(left) = self.free_bytes.checked_sub(bytes) else { return false };
        let own = own.map_or(0, |own| own.memory_bytes).saturating_add(bytes);
        own <= SMALL_MAX_BYTES || own <= left.saturating_sub(self.sizes.total_bytes / SMALL_PART)
    }

    fn take(&mut self, caller: &str, ask: Ask, bytes: u64) {
        let own = self.callers.entry(caller.to_owned()).or_default();
        match ask {
            Ask::Share => own.share_bytes += bytes,
            Ask::Memory => {
                own.memory_bytes += bytes;
                self.free_bytes -= bytes;
            }
        }
    }

    fn waits_no_more(&mut self, caller: &str, ask: Ask) {
        if let Some(own) = self.callers.get_mut(caller) {
            own.waits -= 1;
            match ask {
                Ask::Share => own.share_waits -= 1,
                Ask::Memory => self.memory_waits -= 1,
            }
        }
    }

    /// Forgets a caller that has nothing and waits for nothing.
    fn forget(&mut self, caller: &str) {
        let is_idle = |own: &Use| (own.share_bytes, own.memory_bytes, own.waits) == (0, 0, 0);
        if self.callers.get(caller).is_some_and(is_idle) {
            self.callers.remove(caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn budget() -> MemoryBudget {
        let (total_bytes, share_bytes) = (256 * MIB, 32 * MIB);
        MemoryBudget::new(Sizes { total_bytes, share_bytes, waiting_max: 8, share_waiting_max: 4 })
    }

    fn is_granted(asked: &Asked) -> bool {
        matches!(asked, Asked::Granted)
    }

    /// Each of 60 callers takes what it gets: shares shrink, and whoever comes next has room for a small call.
    #[test]
    fn shares_shrink_and_the_next_one_has_room() {
        let mut budget = budget();
        let mut taken = Vec::new();
        for number in 0..60 {
            let caller = format!("caller{number}");
            let before = budget.free_bytes();
            while budget.ask_now(&caller, MIB / 4) {}
            taken.push(before - budget.free_bytes());
            assert!(is_granted(&budget.ask(&format!("next{number}"), Ask::Memory, SMALL_MAX_BYTES / 4)));
            budget.give_back(&format!("next{number}"), Ask::Memory, SMALL_MAX_BYTES / 4);
        }
        assert_eq!(taken[..6], [32 * MIB; 6]);
        assert!(taken.windows(2).all(|pair| pair[1] <= pair[0]), "{taken:?}");
        assert!(taken[8] < taken[5] && taken[59] <= SMALL_MAX_BYTES, "{taken:?}");
    }

    /// A large ask waits; a small one that came later does not wait behind it.
    #[test]
    fn small_asks_do_not_wait_behind_large_ones() {
        let mut budget = budget();
        for caller in ["a", "b", "c", "d", "e", "f"] {
            assert!(is_granted(&budget.ask(caller, Ask::Memory, 32 * MIB)));
        }
        let Asked::Waits(mut large) = budget.ask("g", Ask::Memory, 30 * MIB) else { panic!("there is no room for it") };
        assert!(is_granted(&budget.ask("h", Ask::Memory, SMALL_MAX_BYTES)));
        assert_eq!(budget.memory_waits(), 1);
        budget.give_back("a", Ask::Memory, 32 * MIB);
        large.granted.try_recv().expect("room for it now");
        assert_eq!((budget.memory_waits(), budget.free_bytes()), (0, 256 * MIB - 190 * MIB - SMALL_MAX_BYTES));
    }

    #[test]
    fn an_ask_that_is_given_up_leaves_nothing() {
        let mut budget = budget();
        assert!(is_granted(&budget.ask("a", Ask::Share, 32 * MIB)));
        let Asked::Waits(one) = budget.ask("a", Ask::Share, MIB) else { panic!("the share is full") };
        let Asked::Waits(two) = budget.ask("a", Ask::Share, MIB) else { panic!("the share is full") };
        assert!(matches!(budget.ask("a", Ask::Share, MIB), Asked::Waits(_)));
        budget.cancel(one.number, "a", Ask::Share, MIB);
        budget.give_back("a", Ask::Share, 32 * MIB);
        // Granted, and nobody took it.
        budget.cancel(two.number, "a", Ask::Share, MIB);
        budget.give_back("a", Ask::Share, MIB);
        assert_eq!((budget.callers(), budget.free_bytes()), (0, 256 * MIB));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut budget = budget();
        assert!(is_granted(&budget.ask("a", Ask::Share, 32 * MIB)));
        let waiting: Vec<_> = (0..4).map(|_| budget.ask("a", Ask::Share, MIB)).collect();
        assert!(waiting.iter().all(|asked| matches!(asked, Asked::Waits(_))));
        assert!(matches!(budget.ask("a", Ask::Share, MIB), Asked::TooMany));
        assert!(is_granted(&budget.ask("b", Ask::Share, MIB)), "it is the share of another");
    }

    #[test]
    fn one_call_fits_whatever_its_size() {
        let mut budget = budget();
        assert!(is_granted(&budget.ask("a", Ask::Share, 40 * MIB)), "it would wait for ever");
        assert!(matches!(budget.ask("a", Ask::Share, 1), Asked::Waits(_)));
    }

    /// When callers of more have taken all but the last part, it serves those that have little.
    #[test]
    fn the_last_part_is_for_small_calls() {
        let mut budget = budget();
        let mut callers = 0;
        while budget.ask_now(&format!("large{callers}"), SMALL_MAX_BYTES + 1) {
            callers += 1;
        }
        assert!(budget.free_bytes() >= 16 * MIB, "{}", budget.free_bytes());
        for number in 0..16 * MIB / SMALL_MAX_BYTES {
            assert!(budget.ask_now(&format!("small{number}"), SMALL_MAX_BYTES), "{number}");
        }
    }

    /// Those who wait for memory are so many at most, and are served in the order in which they came.
    #[test]
    fn who_came_first_is_served_first() {
        let mut budget = budget();
        let mut callers = 0;
        while budget.ask_now(&format!("holds{callers}"), MIB) {
            callers += 1;
        }
        let mut tickets = Vec::new();
        for number in 0..8 {
            let Asked::Waits(ticket) = budget.ask(&format!("waits{number}"), Ask::Memory, 2 * MIB) else {
                panic!("there is no room for it")
            };
            tickets.push(ticket);
        }
        assert!(matches!(budget.ask("late", Ask::Memory, 2 * MIB), Asked::TooMany));
        for held in 0..8 {
            budget.give_back(&format!("holds{held}"), Ask::Memory, MIB);
            let granted: Vec<bool> = tickets.iter_mut().map(|ticket| ticket.granted.try_recv().is_ok()).collect();
            let first = granted.iter().position(|granted| *granted);
            assert!(first.is_none_or(|first| first == 0), "{granted:?} after {held}");
            tickets.drain(..granted.iter().filter(|granted| **granted).count());
        }
        assert!(tickets.len() < 8, "some were served");
    }

    /// What is given back goes past an ask that is too large for it.
    #[test]
    fn nobody_waits_behind_an_ask_that_is_too_large() {
        let mut budget = budget();
        let mut callers = 0;
        while budget.ask_now(&format!("holds{callers}"), 4 * MIB) {
            callers += 1;
        }
        let Asked::Waits(mut large) = budget.ask("large", Ask::Memory, 32 * MIB) else { panic!("there is no room") };
        let Asked::Waits(mut later) = budget.ask("later", Ask::Memory, 4 * MIB) else { panic!("there is no room") };
        let mut held = 0;
        while later.granted.try_recv().is_err() {
            budget.give_back(&format!("holds{held}"), Ask::Memory, 4 * MIB);
            held += 1;
            assert!(large.granted.try_recv().is_err(), "the large one came first, and has room only later");
        }
        assert_eq!(budget.memory_waits(), 1);
    }
}
