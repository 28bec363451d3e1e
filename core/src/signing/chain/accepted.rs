//! What admins accepted when they thawed a namespace, by the digests of the findings.
//!
//! Invariant: a finding is accepted as it was seen. Where anything else is stored afterwards it is another finding.

use std::collections::BTreeSet;

use super::super::hash::digest_of;
use crate::domain::audit::{Finding, Findings};
use crate::domain::digest::Digest;
use crate::domain::event::Payload;
use crate::domain::limits::FINDINGS_MAX;

/// Returns the digest of a finding: of its JSON, whose members always come in one order. The message is among them, so a message that
/// is in use must not be reworded: what was accepted would be a new finding, and freeze its namespace again.
fn finding_digest(finding: &Finding) -> Digest {
    let Finding { revision, row, message, digest } = finding;
    digest_of(serde_json::json!([revision, row, message, digest]).to_string().as_bytes())
}

/// Returns the digest of all findings, in any order; none when there are none, or more than are kept.
#[must_use]
pub fn findings_digest(findings: &Findings) -> Option<Digest> {
    let digests: BTreeSet<Digest> = findings.kept.iter().map(finding_digest).collect();
    let is_whole = findings.count > 0 && findings.count == findings.kept.len() as u64;
    let lines: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
    is_whole.then(|| digest_of(lines.as_bytes()))
}

/// Returns what the event of a thaw says of the findings that were accepted: the first ones whole, for people, and the others by their
/// digests.
#[must_use]
pub fn accepted_settings(findings: &Findings) -> serde_json::Value {
    let named: Vec<&Finding> = findings.named().collect();
    let others: Vec<Digest> = findings.kept.iter().skip(FINDINGS_MAX).map(finding_digest).collect();
    if others.is_empty() {
        serde_json::json!({ "accepted": named })
    } else {
        serde_json::json!({ "accepted": named, "accepted_digests": others })
    }
}

/// The findings that admins accepted, as the events say.
#[derive(Debug, Default)]
pub(super) struct Accepted(BTreeSet<Digest>);

impl Accepted {
    /// Takes in what an event of a thaw says.
    pub(super) fn take(&mut self, thaw: &Payload) {
        let member = |name: &str| thaw.settings.as_ref().and_then(|settings| settings.get(name)).cloned();
        let named = member("accepted").and_then(|value| serde_json::from_value::<Vec<Finding>>(value).ok());
        let others = member("accepted_digests").and_then(|value| serde_json::from_value::<Vec<Digest>>(value).ok());
        self.0.extend(named.unwrap_or_default().iter().map(finding_digest));
        self.0.extend(others.unwrap_or_default());
    }

    /// Returns whether it was accepted as it is.
    pub(super) fn contains(&self, finding: &Finding) -> bool {
        !self.0.is_empty() && self.0.contains(&finding_digest(finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(count: i64) -> Findings {
        let mut findings = Findings::default();
        for revision in 0..count {
            findings.add_found(revision, "policies p", "it is wrong", Some(digest_of(&revision.to_be_bytes())));
        }
        findings
    }

    #[test]
    fn a_digest_is_of_all_findings_in_any_order() {
        let of = findings(3);
        let mut turned = of.clone();
        turned.kept.reverse();
        assert_eq!(findings_digest(&of), findings_digest(&turned));
        let mut other = of.clone();
        other.kept[1].digest = Some(digest_of(b"other"));
        assert_ne!(findings_digest(&of), findings_digest(&other), "something else is stored");
        assert_ne!(findings_digest(&of), findings_digest(&findings(2)));
        assert_eq!(findings_digest(&Findings::default()), None);
        assert_eq!(findings_digest(&Findings { count: 4, ..of }), None, "what is not kept can't be accepted");
    }
}
