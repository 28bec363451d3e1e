//! Approvals: who else looked at a version before it is published.
//!
//! An approval speaks of one version with one digest, under the policy as it stood. Invariant: nothing of it is changed
//! later; whether it counts is decided each time it is needed (`lifecycle::counting`).

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::time::Micros;

/// An approval of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who approved.
    pub approver: String,
    /// The digest that was reviewed.
    pub digest: Digest,
    /// `Policy::edits` when it was given: another one voids it.
    #[serde(rename = "policy_etag")]
    pub policy_edits: i64,
    /// In the approver's words. Left out of events: the one of the approval has it as its own reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When.
    pub create_time: Micros,
    /// From when it counts no more.
    pub expire_time: Micros,
    /// Revision of its event.
    pub revision: i64,
}

impl Approval {
    /// Returns the approval as events contain it.
    #[must_use]
    pub fn for_log(&self) -> Self {
        Self { reason: String::new(), ..self.clone() }
    }
}
