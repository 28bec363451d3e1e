//! What moves of pointers break: an active version of another policy that requires what would no longer be active
//! (docs/lifecycle.md#rule-14).

use super::super::counted_noun::counted_noun;
use super::super::error::{Error, FieldViolation, Reason, Result};
use super::super::limits::BROKEN_REQUIREMENTS_NAMED_MAX;
use super::super::name::PolicyName;
use super::super::version::{LabelInForce, Requirement, Version};
use super::activate::TargetFacts;

/// Refuses moves of pointers after which a requirement of an active version no longer holds. A requirement that does not
/// hold before them stops nothing: otherwise no move could repair it step by step. `moves` are all pointers that one
/// call moves, `before` the versions that are active there until then, and `dependents` the active versions of the
/// namespace that require anything of their policies.
///
/// # Errors
/// `REQUIREMENT_BROKEN` with every requirement, up to `BROKEN_REQUIREMENTS_NAMED_MAX`.
pub fn check_dependents(moves: &[TargetFacts<'_>], before: &[Version], dependents: &[Version]) -> Result<()> {
    let is_moved = |policy: &PolicyName| moves.iter().any(|moved| moved.policy.name == *policy);
    // What a version that comes into force requires is one of its own checks.
    let others = dependents.iter().filter(|dependent| !is_moved(&dependent.policy));
    let broken = others.flat_map(|dependent| {
        let broken = move |requirement: &'_ Requirement| broken_by(moves, before, dependent, requirement);
        dependent.requires.iter().filter_map(broken)
    });
    let mut broken: Vec<FieldViolation> = broken.collect();
    let Some(first) = broken.first() else { return Ok(()) };
    let (name, message) = (first.field.clone(), format!("{} {}", first.field, first.description));
    let count = broken.len();
    let others = || counted_noun(count - 1, "more requirement", "more requirements");
    let rest = if count > 1 { format!("; {} would be broken too", others()) } else { String::new() };
    broken.truncate(BROKEN_REQUIREMENTS_NAMED_MAX);
    let named: Vec<String> = broken.iter().map(|each| format!("{} {}", each.field, each.description)).collect();
    let hint = "activate versions that fit together at once, or deactivate what requires it";
    let error = Error::new(Reason::RequirementBroken, format!("{message}{rest}: {hint}"))
        .with("broken", named.join("; "))
        .with("broken_count", count)
        .about(name);
    Err(Error { violations: broken, ..error })
}

/// Returns who requires what, and what would be active instead; none when the moves do not break it.
fn broken_by(
    moves: &[TargetFacts<'_>],
    before: &[Version],
    dependent: &Version,
    requirement: &Requirement,
) -> Option<FieldViolation> {
    let moved = moves.iter().find(|moved| {
        moved.policy.name.policy == requirement.policy && moved.policy.name.namespace == dependent.policy.namespace
    })?;
    let was = before
        .iter()
        .find(|version| version.policy == moved.policy.name && version.number == moved.policy.active_version);
    let becomes = moved.version.map(LabelInForce::from);
    if !requirement.is_satisfied_by(was.map(Into::into)) || requirement.is_satisfied_by(becomes) {
        return None;
    }
    let Requirement { policy, version_req } = requirement;
    let becomes = becomes.map_or_else(|| "no version".to_owned(), |becomes| becomes.to_string());
    let description = format!("requires {policy} {version_req}, and {becomes} of {policy} would be active");
    Some(FieldViolation { field: dependent.name(), description })
}

#[cfg(test)]
mod tests {
    use super::super::tests::model::{digest, new_policy, new_version, policy_name};
    use super::*;
    use crate::domain::label::Label;
    use crate::domain::policy::Policy;

    /// Returns a version of a policy with a label; empty: without.
    fn version(policy: usize, number: i64, label: &str) -> Version {
        let label = (!label.is_empty()).then(|| Label::parse("label", label).expect("a label"));
        new_version(policy_name(policy), number, label, digest(0))
    }

    fn requires(version: Version, policy: usize, version_req: &str) -> Version {
        let requirement = Requirement {
            policy: policy_name(policy).policy,
            version_req: version_req.parse().expect("a requirement"),
        };
        let requires = version.requires.iter().cloned().chain([requirement]).collect();
        Version { requires, ..version }
    }

    /// Returns the violations of a move of policy 0 from version 1 to another version.
    fn broken(was: &str, becomes: Option<&str>, dependents: &[Version]) -> Vec<String> {
        let policy = Policy { active_version: 1, ..new_policy(0) };
        let becomes = becomes.map(|label| version(0, 2, label));
        let moves = [TargetFacts { policy: &policy, version: becomes.as_ref() }];
        match check_dependents(&moves, &[version(0, 1, was)], dependents) {
            Ok(()) => Vec::new(),
            Err(error) => {
                assert_eq!(error.reason, Reason::RequirementBroken);
                error.violations.into_iter().map(|each| format!("{} {}", each.field, each.description)).collect()
            }
        }
    }

    #[test]
    fn a_move_is_refused_when_it_breaks_a_requirement_that_held() {
        let dependent = [requires(version(1, 7, ""), 0, "^1.2")];
        let (name, policy) = (dependent[0].name(), policy_name(0).policy);
        for (was, becomes, what) in [
            ("1.2.0", Some("1.3.0"), None),
            ("1.2.0", Some("2.0.0"), Some("version 2 with label 2.0.0")),
            ("1.2.0", Some(""), Some("version 2 without a label")),
            ("1.2.0", Some("1.3.0-rc.1"), Some("version 2 with label 1.3.0-rc.1")),
            ("1.2.0", None, Some("no version")),
            // It did not hold before either.
            ("1.0.0", Some("1.1.0"), None),
            ("1.0.0", None, None),
        ] {
            let expected =
                what.map(|what| format!("{name} requires {policy} ^1.2, and {what} of {policy} would be active"));
            assert_eq!(broken(was, becomes, &dependent), Vec::from_iter(expected), "{was} {becomes:?}");
        }
    }

    #[test]
    fn a_target_is_asked_for_its_own_requirements_elsewhere() {
        let own = requires(version(0, 1, "1.0.0"), 0, "^1");
        assert_eq!(broken("1.0.0", None, &[own]), Vec::<String>::new());
    }

    #[test]
    fn every_broken_requirement_is_counted_and_some_are_named() {
        let dependents: Vec<Version> = (1..=BROKEN_REQUIREMENTS_NAMED_MAX + 1)
            .map(|number| requires(version(1, number as i64, ""), 0, "*"))
            .collect();
        let policy = Policy { active_version: 1, ..new_policy(0) };
        let moves = [TargetFacts { policy: &policy, version: None }];
        let error = check_dependents(&moves, &[version(0, 1, "1.0.0")], &dependents).expect_err("a refusal");
        assert_eq!(error.violations.len(), BROKEN_REQUIREMENTS_NAMED_MAX);
        assert_eq!(error.metadata["broken_count"], dependents.len().to_string());
        assert!(error.message.contains("; 10 more requirements would be broken too"), "{error}");
        assert!(error.message.starts_with(&dependents[0].name()), "{error}");
    }
}
