//! Activate, Rollback and Deactivate (DESIGN rules 7–9): where pointers move.

use std::collections::BTreeSet;

use super::super::command;
use super::super::error::{Error, FieldViolation, Reason, Result};
use super::super::event::PointerChange;
use super::super::limits::{ACTIVATION_CONTENT_MAX_BYTES, ACTIVATION_TARGETS_MAX};
use super::super::name::PolicyName;
use super::super::policy::Policy;
use super::super::report::Report;
use super::super::version::{Version, VersionState};
use super::check_note;
use super::publish::check_report;

/// What one target is decided on.
#[derive(Debug, Clone, Copy)]
pub struct TargetFacts<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The version asked for.
    pub version: &'a Version,
}

/// A reason is required to move a pointer (rule 11).
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_reason(reason: &str) -> Result<()> {
    if reason.trim().is_empty() {
        return Err(Error::invalid("reason", "is required"));
    }
    check_note("reason", reason)
}

/// What can be told of a request before anything is read.
///
/// # Errors
/// `INVALID_ARGUMENT` with every violation, `DUPLICATE_TARGET`.
pub fn check_activate(request: &command::Activate) -> Result<()> {
    let mut violations = check_reason(&request.reason).err().map(|error| error.violations).unwrap_or_default();
    if request.targets.is_empty() || request.targets.len() > ACTIVATION_TARGETS_MAX {
        let description = format!("must have 1 to {ACTIVATION_TARGETS_MAX} entries");
        violations.push(FieldViolation { field: "targets".to_owned(), description });
        return Err(Error::invalid_fields(violations));
    }
    let mut seen = BTreeSet::new();
    let mut twice = None;
    for (index, target) in request.targets.iter().enumerate() {
        if target.version < 1 {
            let field = format!("targets[{index}].version");
            violations.push(FieldViolation { field, description: "must be a number from 1".to_owned() });
        }
        if !seen.insert(&target.policy) {
            let message = format!("targets[{index}] names policy {} a second time", target.policy);
            twice = Some(Error::new(Reason::DuplicateTarget, message).with("policy", &target.policy));
        }
    }
    match twice {
        _ if !violations.is_empty() => Err(Error::invalid_fields(violations)),
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Decides an activation: every pointer moves, or none. `facts` are those of the targets, in their order.
///
/// # Errors
/// `VERSION_NOT_PUBLISHED`, `EXPECTED_ACTIVE_MISMATCH` with the current version, `LIMIT_EXCEEDED`.
pub fn activate(targets: &[command::Target], facts: &[TargetFacts<'_>]) -> Result<Vec<PointerChange>> {
    let content: i64 = facts.iter().map(|facts| facts.version.size_bytes).sum();
    if content > ACTIVATION_CONTENT_MAX_BYTES {
        let message =
            format!("the targets have {content} bytes, over {ACTIVATION_CONTENT_MAX_BYTES}; activate fewer at once");
        return Err(Error::new(Reason::LimitExceeded, message)
            .with("size_bytes", content)
            .with("limit_bytes", ACTIVATION_CONTENT_MAX_BYTES));
    }
    targets
        .iter()
        .zip(facts)
        .map(|(target, facts)| {
            check_expected(facts.policy, target.expected_active)?;
            point(facts.policy, facts.version)
        })
        .collect()
}

/// Decides a rollback to `version`. `report` is that of today's checks, none when they are skipped.
///
/// # Errors
/// `VERSION_NOT_PUBLISHED`, `ALREADY_ACTIVE`, `VALIDATION_FAILED`.
pub fn rollback(policy: &Policy, version: &Version, report: Option<&Report>) -> Result<PointerChange> {
    let change = point(policy, version)?;
    if policy.active_version == version.number {
        return Err(Error::new(Reason::AlreadyActive, format!("{} is active already", version.name()))
            .with("version", version.number)
            .about(version.name()));
    }
    if let Some(report) = report {
        check_report(version, report)?;
    }
    Ok(change)
}

/// Decides a deactivation.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`, `NO_ACTIVE_VERSION`.
pub fn deactivate(policy: &Policy, expected_active: Option<i64>) -> Result<PointerChange> {
    check_expected(policy, expected_active)?;
    if policy.active_version == 0 {
        return Err(no_active(&policy.name));
    }
    Ok(PointerChange { policy: policy.name.policy.clone(), version: 0, digest: None, previous: policy.active_version })
}

/// The error for a policy that points nowhere (rule 10).
#[must_use]
pub fn no_active(policy: &PolicyName) -> Error {
    Error::new(Reason::NoActiveVersion, format!("{policy} has no active version")).about(policy)
}

/// The pointer of a policy, moved to one of its versions.
///
/// # Errors
/// `VERSION_NOT_PUBLISHED`.
pub fn point(policy: &Policy, version: &Version) -> Result<PointerChange> {
    if version.state != VersionState::Published {
        return Err(Error::new(
            Reason::VersionNotPublished,
            format!("{} is {}; publish it first", version.name(), version.state.as_str()),
        )
        .with("state", version.state.as_str())
        .about(version.name()));
    }
    Ok(PointerChange {
        policy: policy.name.policy.clone(),
        version: version.number,
        digest: Some(version.digest.clone()),
        previous: policy.active_version,
    })
}

fn check_expected(policy: &Policy, expected: Option<i64>) -> Result<()> {
    match expected {
        Some(expected) if expected != policy.active_version => Err(Error::new(
            Reason::ExpectedActiveMismatch,
            format!("{} has version {} active, not {expected}", policy.name, policy.active_version),
        )
        .with("policy", &policy.name)
        .with("expected_active", expected)
        .with("current_active", policy.active_version)
        .about(&policy.name)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::policy_name;
    use super::*;
    use crate::domain::limits::NOTE_MAX_BYTES;
    use crate::domain::name::PolicyId;

    fn request(targets: usize, version: i64) -> command::Activate {
        let policy = |index| PolicyId::parse("policy", &format!("p{index}")).unwrap();
        let target = |index| command::Target { policy: policy(index), version, expected_active: None };
        let namespace = policy_name(0).namespace;
        command::Activate { namespace, targets: (0..targets).map(target).collect(), reason: "because".to_owned() }
    }

    #[test]
    fn a_reason_has_words_and_a_bound() {
        for (reason, taken) in [
            (String::new(), false),
            (" \n".to_owned(), false),
            ("r".repeat(NOTE_MAX_BYTES), true),
            ("r".repeat(NOTE_MAX_BYTES + 1), false),
        ] {
            assert_eq!(check_reason(&reason).is_ok(), taken, "{} bytes", reason.len());
        }
    }

    #[test]
    fn targets_are_bounded_and_all_told() {
        assert!(check_activate(&request(ACTIVATION_TARGETS_MAX, 1)).is_ok());
        assert!(check_activate(&request(ACTIVATION_TARGETS_MAX + 1, 1)).is_err());
        let error = check_activate(&request(2, 0)).unwrap_err();
        let fields: Vec<&str> = error.violations.iter().map(|each| each.field.as_str()).collect();
        assert_eq!(fields, ["targets[0].version", "targets[1].version"]);
    }
}
