//! Activate, Rollback and Deactivate (docs/lifecycle.md#rule-7 to #rule-9): where pointers move.

use std::collections::BTreeSet;

use super::super::command::{self, PointerTarget};
use super::super::error::{Error, FieldViolation, REQUIRED, Reason, Result};
use super::super::event::{Cursor, Fingerprint, PointerChange, Position};
use super::super::limits::{ACTIVATION_CONTENT_MAX_BYTES, ACTIVATION_TARGETS_MAX};
use super::super::name::PolicyName;
use super::super::policy::Policy;
use super::super::report::Report;
use super::super::version::{Version, VersionState};
use super::preconditions::check_note;
use super::publish::check_report;

/// Holds what one target is decided on.
#[derive(Debug, Clone, Copy)]
pub struct TargetFacts<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The version asked for; none: no version any more.
    pub version: Option<&'a Version>,
}

/// Checks that a reason is given, which is required to move a pointer (rule 11).
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_reason(reason: &str) -> Result<()> {
    if reason.trim().is_empty() {
        return Err(Error::invalid("reason", REQUIRED));
    }
    check_note("reason", reason)
}

/// Checks what can be checked of a request before anything is read.
///
/// # Errors
/// `INVALID_ARGUMENT` with every violation, `DUPLICATE_TARGET`.
pub fn check_activate(request: &command::Activate) -> Result<()> {
    let mut violations = check_reason(&request.reason).err().map(|error| error.violations).unwrap_or_default();
    if request.targets.is_empty() || request.targets.len() > ACTIVATION_TARGETS_MAX {
        let description = match request.targets.len() {
            0 => REQUIRED.to_owned(),
            _ => format!("must have at most {ACTIVATION_TARGETS_MAX} entries"),
        };
        violations.push(FieldViolation { field: "targets".to_owned(), description });
        return Err(Error::invalid_fields(violations));
    }
    let mut seen = BTreeSet::new();
    let mut twice = None;
    for (index, target) in request.targets.iter().enumerate() {
        if matches!(target.to, PointerTarget::Number(..=0)) {
            let field = format!("targets[{index}].version");
            let description = "must be a number from 1; or give a label, or none to remove the pointer".to_owned();
            violations.push(FieldViolation { field, description });
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

/// Decides an activation: every pointer moves or goes, or none. `facts` are those of the targets, in their order.
///
/// # Errors
/// `VERSION_NOT_PUBLISHED`, `EXPECTED_ACTIVE_MISMATCH` with the current version, `LIMIT_EXCEEDED`.
pub fn activate(targets: &[command::ActivationTarget], facts: &[TargetFacts<'_>]) -> Result<Vec<PointerChange>> {
    let content: i64 = facts.iter().filter_map(|facts| facts.version).map(|version| version.size_bytes).sum();
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
        .map(|(target, facts)| match facts.version {
            None => deactivate(facts.policy, target.expected_active),
            Some(version) => {
                check_expected(facts.policy, target.expected_active)?;
                point(facts.policy, version)
            }
        })
        .collect()
}

/// Checks that no pointer of a namespace moved after the cursor at which somebody read it. `found` is the event that stands there, when
/// the place names one; `moved` is the revision of the last move in the epoch of today: whoever read in another epoch, another
/// event, or beyond the head may have seen what is lost.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`.
pub fn check_unmoved(since: Position, found: Option<Fingerprint>, moved: Cursor, head: Cursor) -> Result<()> {
    let at = |cursor: Cursor| format!("{}:{}", cursor.epoch, cursor.revision);
    let place = at(since.cursor);
    let message = if moved > since.cursor {
        format!("the active set changed at {}, after {place}", at(moved))
    } else if since.cursor > head || !since.may_be(found) {
        format!("what was read at {place} is not in the log, which ends at {}; read the active set again", at(head))
    } else {
        return Ok(());
    };
    Err(Error::new(Reason::ExpectedActiveMismatch, message).with("unmoved_since", place).with("moved", at(moved)))
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

/// Returns the error for a policy that points nowhere (rule 10).
#[must_use]
pub fn no_active(policy: &PolicyName) -> Error {
    Error::new(Reason::NoActiveVersion, format!("{policy} has no active version")).about(policy)
}

/// Returns the pointer of a policy, moved to one of its versions.
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

/// Checks that a pointer is where the caller saw it, if they say where.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`.
pub fn check_expected(policy: &Policy, expected: Option<i64>) -> Result<()> {
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
    use super::super::tests::model::policy_name;
    use super::*;
    use crate::domain::label::Label;
    use crate::domain::limits::NOTE_MAX_BYTES;
    use crate::domain::name::PolicyId;

    fn request(targets: usize, number: i64) -> command::Activate {
        let policy = |index| PolicyId::parse("policy", &format!("p{index}")).unwrap();
        let target = |index| command::ActivationTarget {
            policy: policy(index),
            to: PointerTarget::Number(number),
            expected_active: None,
        };
        let namespace = policy_name(0).namespace;
        let targets = (0..targets).map(target).collect();
        command::Activate {
            namespace,
            targets,
            reason: "because".to_owned(),
            unmoved_since: None,
            skip_validation: false,
        }
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

    #[test]
    fn a_removal_is_said_and_no_number_means_it() {
        let label = Label::parse("label", "1.0.0").unwrap();
        for (to, taken) in [
            (PointerTarget::Number(1), true),
            (PointerTarget::Label(label), true),
            (PointerTarget::None, true),
            (PointerTarget::Number(0), false),
            (PointerTarget::Number(-1), false),
        ] {
            let mut request = request(1, 1);
            request.targets[0].to = to.clone();
            assert_eq!(check_activate(&request).is_ok(), taken, "{to:?}");
        }
    }

    #[test]
    fn whoever_read_before_a_move_is_told() {
        let at = |epoch, revision| Cursor { epoch, revision };
        let (here, other) = (Fingerprint::from_number(1), Fingerprint::from_number(2));
        let (moved, head) = (at(1, 9), at(1, 10));
        for (cursor, event, holds) in [
            (at(1, 9), None, true),
            (at(1, 10), None, true),
            (at(1, 10), here, true),
            (at(1, 10), other, false),
            (at(1, 8), None, false),
            (at(1, 11), None, false),
            (at(2, 8), None, false),
        ] {
            let since = Position { cursor, event };
            assert_eq!(check_unmoved(since, here, moved, head).is_ok(), holds, "{since:?}");
        }
        let since = at(1, 10).into();
        assert!(check_unmoved(since, None, at(2, 9), at(2, 11)).is_err(), "read in another epoch");
    }
}
