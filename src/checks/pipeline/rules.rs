//! The rules of a report: a report of the same bytes and rules would be the same again.

use super::guardrails::uses;
use crate::checks::evaluation::Facts;
use crate::domain::digest::short_hash;
use crate::domain::guardrail::Guardrail;
use crate::domain::policy::{PolicyKind, PolicySettings};

/// Raised when a check gives another result for the same content than in the release before.
const CHECKS_REVISION: u32 = 3;

/// All that determines the result of the checks for a content, besides this program.
#[derive(Debug, Clone, Copy)]
pub struct CheckRules<'a> {
    /// The policy's language.
    pub kind: PolicyKind,
    /// The policy's current settings.
    pub settings: &'a PolicySettings,
    /// The guardrails that hold for the version, in order.
    pub guardrails: &'a [Guardrail],
    /// What guardrails know besides the content.
    pub facts: &'a Facts,
    /// The number of the version that is active now; 0: none.
    pub active_version: i64,
}

impl CheckRules<'_> {
    /// Returns a hash of the rules and of this program's revision. For the same bytes and rules the checks would give the same report
    /// again.
    #[must_use]
    pub fn hash(&self) -> String {
        let (revision, kind) = (CHECKS_REVISION.to_be_bytes(), self.kind.content_type());
        let reference_keys: Vec<&[u8]> = self.settings.reference_keys().map(str::as_bytes).collect();
        let mut parts = vec![
            revision.to_vec(),
            kind.as_bytes().to_vec(),
            self.settings.json_schema.as_bytes().to_vec(),
            short_hash(reference_keys).into_bytes(),
        ];
        if !self.guardrails.is_empty() {
            // Neither can fail to be written: they have no keys but texts.
            parts.push(serde_json::to_vec(self.guardrails).unwrap_or_default());
            parts.push(serde_json::to_vec(&self.facts.known).unwrap_or_default());
        }
        if needs_active(self.guardrails) {
            parts.push(self.active_version.to_be_bytes().to_vec());
        }
        short_hash(parts.iter().map(Vec::as_slice))
    }
}

/// Returns whether a guardrail looks at the active version of the policy, which then must be read.
#[must_use]
pub fn needs_active(guardrails: &[Guardrail]) -> bool {
    uses(guardrails, "active")
}
