//! The checks of logs that run, and what they found last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::domain::audit::Findings;
use crate::domain::name::NamespaceId;

/// Logs checked at once. Each holds a reader of the database and a core.
const AUDITS_AT_ONCE_MAX: usize = 1;

/// The places in which logs are checked, and what was found last.
#[derive(Debug)]
pub(super) struct Audits {
    pub(super) turns: Semaphore,
    pub(super) checked: AtomicU64,
    /// Whether a namespace is frozen in which anything is found.
    pub(super) freezes: AtomicBool,
    pub(super) found: Mutex<BTreeMap<NamespaceId, Findings>>,
}

impl Default for Audits {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AUDITS_AT_ONCE_MAX),
            checked: AtomicU64::new(0),
            freezes: AtomicBool::new(false),
            found: Mutex::default(),
        }
    }
}

impl Audits {
    /// Forgets what was found before a namespace was thawed: all of it was accepted.
    pub(super) fn settled(&self, namespace: &NamespaceId) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// Keeps what was found, and tells the log of the server of what is new.
    pub(super) fn keep(&self, namespace: &NamespaceId, findings: &Findings) {
        self.checked.fetch_add(1, Ordering::Relaxed);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if findings.count == 0 {
            found.remove(namespace)
        } else {
            // As many as are told: the others are found again.
            let told = Findings { kept: findings.named().cloned().collect(), count: findings.count };
            found.insert(namespace.clone(), told)
        };
        let known = before.unwrap_or_default();
        for finding in findings.named().filter(|finding| !known.kept.contains(finding)) {
            let (revision, row, problem) = (finding.revision, finding.row.as_str(), finding.message.as_str());
            tracing::error!(target: "policyhub::audit", %namespace, revision, row, problem, "the store was tampered with");
        }
    }
}
