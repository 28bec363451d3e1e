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
    /// Says who approved.
    pub approver: String,
    /// The digest that was reviewed.
    pub digest: Digest,
    /// `Policy::edits` when it was given: another one voids it.
    #[serde(rename = "policy_etag")]
    pub policy_edits: i64,
    /// Says why, in the approver's words. It is left out of events: the event of the approval has it as its own reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Says when.
    pub create_time: Micros,
    /// Says when it expires.
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
