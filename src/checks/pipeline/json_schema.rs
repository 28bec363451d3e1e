//! The check `json-schema`: the documents of a content are valid against the policy's JSON Schema.

use super::step::{CheckSubject, Step};
use crate::checks::evaluation::{Task, TaskAnswer, TaskOutcome};
use crate::domain::policy::PolicyKind;
use crate::domain::report::{Check, CheckResult, JSON_SCHEMA_CHECK};

/// Asks a worker to validate the content, or says why it is skipped.
pub(super) fn check(subject: &CheckSubject<'_>) -> Step {
    let skipped = |why| Step::Done(Check::new(JSON_SCHEMA_CHECK, CheckResult::Skipped, why));
    let settings = subject.input.settings;
    if settings.json_schema.is_empty() {
        return skipped("the policy has no JSON Schema");
    }
    if !matches!(subject.input.kind, PolicyKind::Json | PolicyKind::Yaml) {
        return skipped("JSON Schema applies to JSON and YAML alone");
    }
    if subject.document.is_none() {
        return skipped("not validated: the content does not parse");
    }
    let task = Task::JsonSchema { schema: settings.json_schema.clone() };
    Step::evaluate(vec![task], |outcomes| conclude(outcomes.into_iter().next()))
}

fn conclude(outcome: Option<TaskOutcome>) -> Check {
    let failed = |message: String| Check::new(JSON_SCHEMA_CHECK, CheckResult::Failed, message);
    match outcome {
        Some(TaskOutcome::Answered(TaskAnswer::Findings(findings))) if findings.is_empty() => {
            Check::new(JSON_SCHEMA_CHECK, CheckResult::Passed, "valid against the policy's JSON Schema")
        }
        Some(TaskOutcome::Answered(TaskAnswer::Findings(findings))) => {
            Check::of(JSON_SCHEMA_CHECK, CheckResult::Failed, findings)
        }
        Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => {
            failed(format!("the policy's JSON Schema does not compile: {why}"))
                .with_hint("set a JSON Schema that compiles")
        }
        Some(TaskOutcome::OverLimit(limit)) => {
            failed(limit.message("the JSON Schema")).with_hint("simplify the policy's JSON Schema")
        }
        // A check that was not answered must not pass.
        Some(TaskOutcome::NotRun) | None => failed("not validated".to_owned()),
    }
}
