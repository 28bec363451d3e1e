//! What this replica did with schedules that were due, and those that it tries again later.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::schedule::ScheduleName;

/// Largest number of rounds for which a schedule that failed is left out. Larger: it runs later once it can.
const ROUNDS_LEFT_OUT_MAX: u32 = 32;

/// Counts the ends of runs since the start.
#[derive(Debug, Default)]
pub struct ScheduleCounts {
    ran: AtomicU64,
    suspended: AtomicU64,
    failed: AtomicU64,
}

/// Schedules whose run failed for a reason that may go away. Each is left out for twice as many rounds as the time before, so that
/// many of them, in a namespace that is frozen for example, do not cost a query each per round.
#[derive(Debug, Default)]
pub struct ScheduleRetries(Mutex<HashMap<ScheduleName, Retry>>);

#[derive(Debug, Default, Clone, Copy)]
struct Retry {
    /// Number of rounds for which it was left out the last time.
    left_out: u32,
    /// Number of rounds until it is tried again.
    rounds: u32,
}

impl ScheduleCounts {
    pub(super) fn add_run(&self) {
        self.ran.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_suspension(&self) {
        self.suspended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts by what became of the run.
    #[must_use]
    pub fn by_result(&self) -> [(&'static str, u64); 3] {
        [("ran", &self.ran), ("suspended", &self.suspended), ("failed", &self.failed)]
            .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
    }
}

impl ScheduleRetries {
    fn retries(&self) -> MutexGuard<'_, HashMap<ScheduleName, Retry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a schedule is tried in this round.
    pub(super) fn is_tried(&self, name: &ScheduleName) -> bool {
        match self.retries().get_mut(name) {
            Some(retry) if retry.rounds > 0 => {
                retry.rounds -= 1;
                false
            }
            _ => true,
        }
    }

    /// Notes that the run of a schedule failed. Returns whether it is the first time in a row.
    pub(super) fn note_failure(&self, name: &ScheduleName) -> bool {
        let mut retries = self.retries();
        let retry = retries.entry(name.clone()).or_default();
        let is_first = retry.left_out == 0;
        let rounds = (retry.left_out * 2).clamp(1, ROUNDS_LEFT_OUT_MAX);
        *retry = Retry { left_out: rounds, rounds };
        is_first
    }

    /// Forgets every schedule that is not due any more, at the end of a round.
    pub(super) fn keep(&self, due: &BTreeSet<ScheduleName>) {
        self.retries().retain(|name, _| due.contains(name));
    }

    /// Forgets a schedule that ran.
    pub(super) fn forget(&self, name: &ScheduleName) {
        self.retries().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_fails_is_tried_less_and_less_often() {
        let name = ScheduleName::parse("name", "namespaces/n/schedules/s").expect("a name");
        let retries = ScheduleRetries::default();
        let mut tried = Vec::new();
        for round in 0..100 {
            if retries.is_tried(&name) {
                assert_eq!(retries.note_failure(&name), tried.is_empty());
                tried.push(round);
            }
        }
        assert_eq!(tried, [0, 2, 5, 10, 19, 36, 69]);
        retries.keep(&BTreeSet::from([name.clone()]));
        assert!(!retries.is_tried(&name), "it is still due");
        retries.forget(&name);
        assert!(retries.is_tried(&name));
    }
}
