//! Checks of logs: how many may run, and the findings of the last ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::domain::Error;
use crate::domain::audit::{Finding, Findings};
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;

/// Number of logs checked at once. Each check needs a reader of the database and a core.
const AUDITS_AT_ONCE_MAX: usize = 1;
/// Time between two checks of a longer log from its beginning. Too high: an edit of an old event, or of a row, is found late. Too low:
/// a tenth of a core, all the time.
const WHOLE_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The slots in which logs are checked, and the last findings.
#[derive(Debug)]
pub(super) struct LogAudits {
    pub(super) slots: Semaphore,
    pub(super) checked: AtomicU64,
    /// Whether a finding freezes its namespace.
    pub(super) freezes: AtomicBool,
    pub(super) found: Mutex<BTreeMap<NamespaceId, LastLogCheck>>,
    /// Events verified.
    pub(super) events: AtomicU64,
    /// The logs whose last check failed, with the reason.
    failed: Mutex<BTreeMap<NamespaceId, String>>,
    /// Up to where the longer logs hold. They are in this process alone, so that nobody who writes to the database or to a file can
    /// have a log passed over.
    checkpoints: Mutex<BTreeMap<NamespaceId, AuditCheckpoint>>,
}

/// What the last check of a log and of the rows of its namespace found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastLogCheck {
    /// The last event that it verified.
    pub end: Cursor,
    /// How many findings it made.
    pub count: u64,
    /// The first of them.
    pub named: Vec<Finding>,
}

/// Up to where a log and the rows of its namespace held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuditCheckpoint {
    /// The last event that was verified.
    pub(super) head: Head,
    /// The uptime of the server when the whole log was checked last.
    pub(super) whole_at: Duration,
}

impl AuditCheckpoint {
    /// Returns whether a check may go on from here; otherwise it begins with the first event.
    pub(super) fn is_current(&self, uptime: Duration) -> bool {
        uptime < self.whole_at.saturating_add(WHOLE_CHECK_INTERVAL)
    }
}

impl Default for LogAudits {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(AUDITS_AT_ONCE_MAX),
            checked: AtomicU64::new(0),
            freezes: AtomicBool::new(false),
            found: Mutex::default(),
            events: AtomicU64::new(0),
            failed: Mutex::default(),
            checkpoints: Mutex::default(),
        }
    }
}

impl LogAudits {
    fn checkpoints(&self) -> MutexGuard<'_, BTreeMap<NamespaceId, AuditCheckpoint>> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns up to where a log held.
    pub(super) fn checkpoint(&self, namespace: &NamespaceId) -> Option<AuditCheckpoint> {
        self.checkpoints().get(namespace).copied()
    }

    /// Records up to where a log held; none forgets it, so that its next check is of the whole log.
    pub(super) fn set_checkpoint(&self, namespace: &NamespaceId, checkpoint: Option<AuditCheckpoint>) {
        match checkpoint {
            Some(checkpoint) => self.checkpoints().insert(namespace.clone(), checkpoint),
            None => self.checkpoints().remove(namespace),
        };
    }

    /// Records that a log can't be checked, and logs each new reason.
    pub(super) fn record_failure(&self, namespace: &NamespaceId, error: &Error) {
        let why = error.internal.as_ref().unwrap_or(&error.message);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.insert(namespace.clone(), why.clone()).as_ref() != Some(why) {
            tracing::error!(target: "policyhub::audit", %namespace, why, "the log can't be checked");
        }
    }

    /// Returns how many logs can't be checked.
    pub(super) fn failed_checks(&self) -> usize {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Counts events that were verified.
    pub(super) fn count_events(&self, events: usize) {
        self.events.fetch_add(u64::try_from(events).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Clears the findings of a namespace that was thawed: all of them were accepted.
    pub(super) fn clear(&self, namespace: &NamespaceId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// Returns what the last check of a log found; none when there was none since this server started.
    pub(super) fn last_check(&self, namespace: &NamespaceId) -> Option<LastLogCheck> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    /// Stores the findings of a check that verified a log up to an event, and logs those that are new.
    pub(super) fn keep(&self, namespace: &NamespaceId, end: Cursor, findings: &Findings) {
        if findings.count > 0 {
            self.set_checkpoint(namespace, None);
        }
        self.checked.fetch_add(1, Ordering::Relaxed);
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        // Store only those that are logged: the next check finds the others again.
        let last = LastLogCheck { end, count: findings.count, named: findings.named().cloned().collect() };
        let known = found.insert(namespace.clone(), last).unwrap_or_default().named;
        for finding in findings.named().filter(|finding| !known.contains(finding)) {
            let (revision, row, problem) = (finding.revision, finding.row.as_str(), finding.message.as_str());
            tracing::error!(target: "policyhub::audit", %namespace, revision, row, problem, "the store was tampered with");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_log_is_checked_whole_once_a_day() {
        let checkpoint = AuditCheckpoint { head: Head::EMPTY, whole_at: Duration::from_secs(60) };
        let day_later = Duration::from_secs(60) + WHOLE_CHECK_INTERVAL;
        assert!(checkpoint.is_current(day_later - Duration::from_secs(1)));
        assert!(!checkpoint.is_current(day_later));
    }
}
