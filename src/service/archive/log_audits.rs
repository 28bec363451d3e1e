//! Checks of logs: how many may run, and what they found last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::domain::audit::Findings;
use crate::domain::name::NamespaceId;

/// Logs checked at once. Each needs a reader of the database and a core.
const AUDITS_AT_ONCE_MAX: usize = 1;

/// The slots in which logs are checked, and what was found last.
#[derive(Debug)]
pub(super) struct LogAudits {
    pub(super) slots: Semaphore,
    pub(super) checked: AtomicU64,
    /// Whether a finding freezes its namespace.
    pub(super) freezes: AtomicBool,
    pub(super) found: Mutex<BTreeMap<NamespaceId, Findings>>,
}

impl Default for LogAudits {
    fn default() -> Self {
        Self {
            slots: Semaphore::new(AUDITS_AT_ONCE_MAX),
            checked: AtomicU64::new(0),
            freezes: AtomicBool::new(false),
            found: Mutex::default(),
        }
    }
}

impl LogAudits {
    /// Forgets the findings of a namespace that was thawed: all of them were accepted.
    pub(super) fn clear(&self, namespace: &NamespaceId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// Keeps the findings of a namespace, and logs those that are new.
    pub(super) fn keep(&self, namespace: &NamespaceId, findings: &Findings) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if findings.count == 0 {
            found.remove(namespace)
        } else {
            // Only those that are logged: the others are found again by the next check.
            let logged = Findings { kept: findings.named().cloned().collect(), count: findings.count };
            found.insert(namespace.clone(), logged)
        };
        let known = before.unwrap_or_default();
        for finding in findings.named().filter(|finding| !known.kept.contains(finding)) {
            let (revision, row, problem) = (finding.revision, finding.row.as_str(), finding.message.as_str());
            tracing::error!(target: "policyhub::audit", %namespace, revision, row, problem, "the store was tampered with");
        }
    }
}
