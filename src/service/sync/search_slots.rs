//! The slots of searches, fair between callers.

use crate::domain::Result;
use crate::service::fair_slots::{FairSlot, FairSlots};

/// Searches that run at once. More: they take cores from calls.
const SEARCHES_AT_ONCE_MAX: usize = 2;
/// Searches of one caller that run at once.
const CALLER_SEARCHES_MAX: usize = 1;

/// The slots, by the names of callers.
#[derive(Debug)]
pub struct SearchSlots(FairSlots<String>);

impl Default for SearchSlots {
    fn default() -> Self {
        Self(FairSlots::new(SEARCHES_AT_ONCE_MAX, CALLER_SEARCHES_MAX))
    }
}

impl SearchSlots {
    /// Takes a slot of a caller if one is free now. It never waits, because the page that searches holds one of the slots of pages.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when none is free.
    pub fn take(&self, caller: &String) -> Result<FairSlot> {
        self.0.try_take(caller, "search")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    /// Given a caller whose search runs, another one gets a slot, and a further one of its own is refused.
    #[test]
    fn searches_of_one_caller_leave_room_for_another() {
        let slots = SearchSlots::default();
        let [ann, ben, eve] = ["ann", "ben", "eve"].map(str::to_owned);
        let held = slots.take(&ann).expect("a slot");
        assert_eq!(slots.take(&ann).expect_err("one at a time").reason, Reason::LimitExceeded);
        let other = slots.take(&ben).expect("a slot of its own");
        assert!(slots.take(&eve).is_err(), "two at once");
        drop(other);
        slots.take(&eve).expect("a slot");
        drop(held);
        slots.take(&ann).expect("its own again");
    }
}
