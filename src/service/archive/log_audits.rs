//! Checks of logs: how many may run, and the findings of the last ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::domain::audit::Findings;
use crate::domain::name::NamespaceId;

/// Number of logs checked at once. Each check needs a reader of the database and a core.
const AUDITS_AT_ONCE_MAX: usize = 1;

/// The slots in which logs are checked, and the last findings.
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
    /// Clears the findings of a namespace that was thawed: all of them were accepted.
    pub(super) fn clear(&self, namespace: &NamespaceId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// Stores the findings of a namespace, and logs those that are new.
    pub(super) fn keep(&self, namespace: &NamespaceId, findings: &Findings) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if findings.count == 0 {
            found.remove(namespace)
        } else {
            // Store only those that are logged: the next check finds the others again.
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
