//! The check `template`: contents can be made from the document. It stands only in reports of TEMPLATE_CHECK policies.

use super::step::{CheckSubject, Step};
use crate::checks::check_limit::ANSWER_FINDINGS_MAX;
use crate::checks::evaluation::{Task, TaskAnswer, TaskOutcome};
use crate::checks::parse_failure::DOES_NOT_PARSE;
use crate::checks::template::{Template, TemplateProblem};
use crate::domain::report::{Check, CheckFinding, CheckResult, Severity, TEMPLATE_CHECK};

const HINT: &str = "docs/templates.md says what a template has; correct it and draft it again";

/// Checks the members of the template, and asks a worker to compile the schema of its parameters.
pub(super) fn check(subject: &CheckSubject<'_>) -> Step {
    let Some(document) = &subject.document else {
        return Step::Done(Check::new(TEMPLATE_CHECK, CheckResult::Skipped, DOES_NOT_PARSE));
    };
    let finding = |TemplateProblem { pointer, message }: TemplateProblem| {
        CheckFinding::new(Severity::Error, message).at_pointer(pointer).with_hint(HINT)
    };
    match Template::read(&document.value) {
        Err(problems) => {
            let findings = problems.into_iter().map(finding).collect();
            Step::Done(Check::of(TEMPLATE_CHECK, CheckResult::Failed, findings))
        }
        Ok(template) => {
            let unused = |name: &str| {
                CheckFinding::new(Severity::Warning, format!("parameter {name:?} is put nowhere"))
                    .at_pointer("/parameters/properties")
            };
            let unused = template.unused().take(ANSWER_FINDINGS_MAX).map(unused).collect();
            let task = Task::CompileJsonSchema { schema: template.schema().to_owned() };
            Step::evaluate(vec![task], |outcomes| conclude(unused, outcomes.into_iter().next()))
        }
    }
}

fn conclude(unused: Vec<CheckFinding>, outcome: Option<TaskOutcome>) -> Check {
    let failed = |message: String| {
        let finding = CheckFinding::new(Severity::Error, message).at_pointer("/parameters").with_hint(HINT);
        Check::of(TEMPLATE_CHECK, CheckResult::Failed, vec![finding])
    };
    match outcome {
        Some(TaskOutcome::Answered(TaskAnswer::Findings(_))) if unused.is_empty() => {
            Check::new(TEMPLATE_CHECK, CheckResult::Passed, "contents can be made from it")
        }
        Some(TaskOutcome::Answered(TaskAnswer::Findings(_))) => {
            Check::of(TEMPLATE_CHECK, CheckResult::of(&unused), unused)
        }
        Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => {
            failed(format!("the JSON Schema of the parameters does not compile: {why}"))
        }
        Some(TaskOutcome::OverLimit(limit)) => failed(limit.message("the JSON Schema of the parameters")),
        // A check that was not answered must not pass.
        Some(TaskOutcome::NotRun) | None => failed("not checked".to_owned()),
    }
}
