//! The check `requires`: what a version requires of other policies is active.

use super::step::{CheckSubject, Step};
use crate::domain::report::{Check, CheckFinding, CheckResult, REQUIRES_CHECK, Severity};
use crate::domain::version::Requirement;

const OWN_HINT: &str = "draft it again without that requirement";
const MISSING_HINT: &str = "activate a version that satisfies it, alone before this one or together with it";

/// Compares each requirement with the label of the active version of its policy.
pub(super) fn check(subject: &CheckSubject<'_>) -> Step {
    let requires = &subject.others.requires;
    if requires.is_empty() {
        return Step::Done(Check::new(REQUIRES_CHECK, CheckResult::Skipped, "the version requires nothing"));
    }
    let findings: Vec<CheckFinding> = requires.iter().filter_map(|each| unsatisfied(subject, each)).collect();
    if findings.is_empty() {
        let message = format!("requirements that are satisfied: {}", requires.len());
        return Step::Done(Check::new(REQUIRES_CHECK, CheckResult::Passed, message));
    }
    Step::Done(Check::of(REQUIRES_CHECK, CheckResult::of(&findings), findings))
}

fn unsatisfied(subject: &CheckSubject<'_>, requirement: &Requirement) -> Option<CheckFinding> {
    let (others, Requirement { policy, version_req }) = (subject.others, requirement);
    if others.own.as_ref() == Some(policy) {
        let message = format!("requires {policy} {version_req}, its own policy");
        return Some(CheckFinding::new(Severity::Error, message).with_hint(OWN_HINT));
    }
    let active = others.label_of(policy);
    if requirement.is_satisfied_by(active) {
        return None;
    }
    let active = active.map_or_else(|| "no version".to_owned(), |active| active.to_string());
    let message = format!("requires {policy} {version_req}, and {active} of {policy} is active");
    Some(others.missing(message).with_hint(MISSING_HINT))
}
