//! The progress of a check of a log, for callers that wait for it.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use crate::domain::audit::{LogCheckPhase, LogCheckProgress};

/// Written by a check, and read by others while it runs. It is informational: the parts of one read may be from different moments.
#[derive(Debug, Default)]
pub struct LogProgress {
    phase: AtomicU8,
    events: AtomicI64,
    total_events: AtomicI64,
}

impl LogProgress {
    /// Returns the progress.
    #[must_use]
    pub fn read(&self) -> LogCheckProgress {
        let phase = match self.phase.load(Ordering::Acquire) {
            0 => LogCheckPhase::Waiting,
            1 => LogCheckPhase::Events,
            _ => LogCheckPhase::Rows,
        };
        let total_events = self.total_events.load(Ordering::Relaxed);
        LogCheckProgress { phase, events: self.events.load(Ordering::Relaxed), total_events }
    }

    /// Records that the check begins, and how many events it will verify.
    pub(super) fn start_events(&self, total_events: i64) {
        self.total_events.store(total_events, Ordering::Relaxed);
        self.phase.store(1, Ordering::Release);
    }

    /// Records how many events are verified.
    pub(super) fn set_checked(&self, events: i64) {
        self.events.store(events, Ordering::Relaxed);
    }

    /// Records that all events are verified and the comparison of rows begins.
    pub(super) fn start_rows(&self) {
        self.phase.store(2, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_goes_through_its_phases() {
        let progress = LogProgress::default();
        assert_eq!(progress.read(), LogCheckProgress::default());
        progress.start_events(7);
        progress.set_checked(5);
        let read = LogCheckProgress { phase: LogCheckPhase::Events, events: 5, total_events: 7 };
        assert_eq!(progress.read(), read);
        progress.start_rows();
        assert_eq!(progress.read(), LogCheckProgress { phase: LogCheckPhase::Rows, ..read });
    }
}
