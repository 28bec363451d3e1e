//! Parses requirements on other policies on the command line, and formats them.

use crate::cli::names::policy_id;
use crate::cli::output::text;
use crate::client::pb;

/// Parses a requirement: `pricing@^1.2`.
pub fn requirement(text: &str) -> Result<pb::Requirement, String> {
    let (policy, version_req) = text.split_once('@').ok_or("must be POLICY@REQUIREMENT, such as pricing@^1.2")?;
    let policy = policy_id(policy)?.to_string();
    Ok(pb::Requirement { policy, version_req: version_req.to_owned() })
}

/// Returns all requirements in one line: `pricing@^1.2, fees@*`.
#[must_use]
pub fn line(requires: &[pb::Requirement]) -> String {
    let all: Vec<String> = requires.iter().map(|each| format!("{}@{}", each.policy, each.version_req)).collect();
    text::line(&all.join(", "))
}

/// Returns the differences between two versions, in one line: `requires: pricing@^1.2 -> nothing`. `None` when there are none.
#[must_use]
pub fn difference(from: &[pb::Requirement], to: &[pb::Requirement]) -> Option<String> {
    let side = |requires: &[pb::Requirement]| if requires.is_empty() { "nothing".to_owned() } else { line(requires) };
    (from != to).then(|| format!("requires: {} -> {}", side(from), side(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_written_as_it_is_read() {
        let parsed: Vec<_> = ["pricing@>=1.2, <2", "fees@*"].map(|text| requirement(text).expect(text)).into();
        assert_eq!(line(&parsed), "pricing@>=1.2, <2, fees@*");
        assert_eq!(difference(&parsed, &parsed), None);
        assert_eq!(difference(&parsed[1..], &[]).as_deref(), Some("requires: fees@* -> nothing"));
        for bad in ["pricing", "Pricing@1", "@1", "pricing ^1"] {
            assert!(requirement(bad).is_err(), "{bad}");
        }
    }
}
