//! The checks `cedar` and `rego`: what the policies of a content mean. Each stands only in reports of policies of its kind.

use super::step::{CheckSubject, Step};
use crate::checks::engine::{Engine, is_cedar_schema};
use crate::checks::evaluation::{Task, TaskAnswer, TaskOutcome};
use crate::checks::parse_failure::DOES_NOT_PARSE;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{CEDAR_CHECK, Check, CheckResult, REGO_CHECK};

/// Asks a worker to validate the policies against the schema of the content, or says why that is skipped.
pub(super) fn check_cedar(subject: &CheckSubject<'_>) -> Step {
    if !subject.texts.is_empty() && !subject.texts.iter().any(|file| is_cedar_schema(&file.path)) {
        let why = "not validated: the content has no schema, such as a file policies.cedarschema beside the policies";
        return Step::Done(Check::new(CEDAR_CHECK, CheckResult::Skipped, why));
    }
    check(CEDAR_CHECK, "valid against the schema of the content", PolicyKind::Cedar, subject)
}

/// Asks a worker to compile the modules, and to run the tests of the content.
pub(super) fn check_rego(subject: &CheckSubject<'_>) -> Step {
    check(REGO_CHECK, "the modules compile; the content has no tests", PolicyKind::Rego, subject)
}

fn check(id: &'static str, passed: &'static str, kind: PolicyKind, subject: &CheckSubject<'_>) -> Step {
    match Engine::of(kind) {
        Some(engine) if !subject.texts.is_empty() => {
            Step::evaluate(vec![Task::CheckPolicies(engine)], move |outcomes| {
                conclude(id, passed, outcomes.into_iter().next())
            })
        }
        _ => Step::Done(Check::new(id, CheckResult::Skipped, DOES_NOT_PARSE)),
    }
}

fn conclude(id: &str, passed: &str, outcome: Option<TaskOutcome>) -> Check {
    let failed = |message: String| Check::new(id, CheckResult::Failed, message);
    match outcome {
        Some(TaskOutcome::Answered(TaskAnswer::Findings(findings))) => {
            let result = CheckResult::of(&findings);
            if findings.is_empty() { Check::new(id, result, passed) } else { Check::of(id, result, findings) }
        }
        Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => Check::new(id, CheckResult::Skipped, why),
        Some(TaskOutcome::OverLimit(limit)) => {
            failed(limit.message("the policy")).with_hint("simplify the policies or their tests")
        }
        // A check that was not answered must not pass.
        Some(TaskOutcome::NotRun) | None => failed("not checked: a check before it was ended by a limit".to_owned()),
    }
}
