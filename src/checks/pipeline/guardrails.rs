//! The check `guardrails`: a content satisfies the guardrails of its namespace and of the store.

use super::step::{CheckSubject, Step};
use crate::checks::evaluation::{Facts, Task, TaskAnswer, TaskOutcome};
use crate::domain::counted_noun::counted_noun;
use crate::domain::guardrail::{Guardrail, GuardrailSeverity};
use crate::domain::policy::PolicyKind;
use crate::domain::report::{Check, CheckFinding, CheckResult, GUARDRAILS_CHECK, Severity};

/// Asks a worker to evaluate each guardrail, or says why they are skipped.
pub(super) fn check(subject: &CheckSubject<'_>) -> Step {
    let skipped = |why| Step::Done(Check::new(GUARDRAILS_CHECK, CheckResult::Skipped, why));
    let guardrails = subject.input.guardrails;
    if guardrails.is_empty() {
        return skipped("the namespace has no guardrails");
    }
    // OPAQUE content is evaluated too: otherwise the kind would be a way around every guardrail.
    let is_of_documents = matches!(subject.input.kind, PolicyKind::Json | PolicyKind::Yaml | PolicyKind::Template);
    if is_of_documents && subject.document.is_none() {
        return skipped("not evaluated: the content does not parse");
    }
    // Those that refuse come first: a warning that exceeds a limit must not leave one of them out.
    let mut ordered: Vec<&Guardrail> = guardrails.iter().collect();
    ordered.sort_by_key(|guardrail| guardrail.severity == GuardrailSeverity::Warn);
    let named = ordered.iter().map(|guardrail| (guardrail.id.clone(), guardrail.severity)).collect();
    let tasks = ordered.into_iter().map(|guardrail| Task::Guardrail(guardrail.clone())).collect();
    Step::evaluate_last(tasks, move |outcomes| conclude(named, outcomes))
}

fn conclude(guardrails: Vec<(String, GuardrailSeverity)>, outcomes: Vec<TaskOutcome>) -> Check {
    let (count, mut outcomes, mut findings) = (guardrails.len(), outcomes.into_iter(), Vec::new());
    for (id, severity) in guardrails {
        findings.extend(guardrail_findings(&id, severity, outcomes.next().unwrap_or(TaskOutcome::NotRun)));
    }
    if findings.is_empty() {
        let message = counted_noun(count, "guardrail holds", "guardrails hold");
        return Check::new(GUARDRAILS_CHECK, CheckResult::Passed, message);
    }
    // Errors come first, so that a bound on findings never leaves one out for a warning.
    findings.sort_by_key(|finding| finding.severity != Severity::Error);
    Check::of(GUARDRAILS_CHECK, CheckResult::of(&findings), findings)
}

/// Returns what the evaluation of a guardrail found. One that was not evaluated to its end does not hold.
#[must_use]
pub fn guardrail_findings(id: &str, severity: GuardrailSeverity, outcome: TaskOutcome) -> Vec<CheckFinding> {
    let message = match outcome {
        TaskOutcome::Answered(TaskAnswer::Findings(found)) => return found,
        TaskOutcome::Answered(TaskAnswer::Unusable(why)) => format!("{id}: the guardrail does not compile: {why}"),
        TaskOutcome::OverLimit(limit) => limit.message(&format!("the guardrail {id}")),
        TaskOutcome::NotRun => {
            format!("{id}: not evaluated, since a check of this version before it was ended by a limit")
        }
    };
    vec![CheckFinding::new(severity.of_finding(), message)]
}

/// Returns whether a guardrail may use the variable of this name: then it must be read, and the result depends on it.
/// The name is searched for as text, so a use is never missed; the name in a literal counts too, and costs a read.
pub(super) fn uses(guardrails: &[Guardrail], variable: &str) -> bool {
    guardrails.iter().any(|each| each.expression.contains(variable) || each.message.contains(variable))
}

/// Adds the text of the content, if a guardrail looks at it.
pub(super) fn with_text(facts: Facts, content: &[u8], guardrails: &[Guardrail]) -> Facts {
    let text = std::str::from_utf8(content).ok().filter(|_| uses(guardrails, "text"));
    Facts { text: text.map(str::to_owned), ..facts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CheckLimit;

    fn finding(severity: Severity) -> TaskOutcome {
        TaskOutcome::Answered(TaskAnswer::Findings(vec![CheckFinding::new(severity, "x")]))
    }

    fn concluded(severities: &[GuardrailSeverity], outcomes: Vec<TaskOutcome>) -> Check {
        let named = severities.iter().enumerate().map(|(number, severity)| (format!("g{number}"), *severity));
        conclude(named.collect(), outcomes)
    }

    #[test]
    fn the_worst_finding_decides() {
        use GuardrailSeverity::{Deny, Warn};
        let holds = || TaskOutcome::Answered(TaskAnswer::Findings(Vec::new()));
        assert_eq!(concluded(&[Deny, Warn], vec![holds(), holds()]).result, CheckResult::Passed);
        assert_eq!(concluded(&[Deny, Warn], vec![holds(), finding(Severity::Warning)]).result, CheckResult::Warning);
        let both = concluded(&[Warn, Deny], vec![finding(Severity::Warning), finding(Severity::Error)]);
        assert_eq!((both.result, both.findings[0].severity), (CheckResult::Failed, Severity::Error));
        let over = concluded(&[Warn, Deny], vec![TaskOutcome::OverLimit(CheckLimit::Cpu), TaskOutcome::NotRun]);
        assert_eq!(over.result, CheckResult::Failed);
        assert!(over.findings[0].message.contains("g1: not evaluated, since"), "{over:?}");
        assert!(over.findings[1].message.starts_with("CHECK_LIMIT_EXCEEDED (cpu): the guardrail g0"), "{over:?}");
        assert_eq!(concluded(&[Warn], vec![TaskOutcome::OverLimit(CheckLimit::Cpu)]).result, CheckResult::Warning);
        assert_eq!(concluded(&[Deny], Vec::new()).result, CheckResult::Failed, "nobody asked");
    }
}
