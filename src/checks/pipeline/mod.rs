//! Runs every check of one version, in the order of docs/checks.md, and makes the report that is stored and shown.
//!
//! Three steps: `parse_input` finds which other policies the content refers to, and the caller reads them; `start` runs
//! all checks that are bounded, and the caller has the evaluation of untrusted text answered elsewhere;
//! `Started::report` adds the answers. Total: any content ends with a report. Each id occurs once; a check that does
//! not apply says why. A check that depends on a failed one is skipped, so one fault is one failure.

mod engine;
mod guardrails;
mod json_schema;
mod label;
mod limits;
mod other_policies;
mod parse;
mod references;
mod requires;
mod rules;
mod step;
mod template;

use std::collections::BTreeSet;
use std::fmt;

pub use guardrails::guardrail_findings;
pub use label::check_label;
pub use other_policies::{OtherPolicies, OtherPolicy};
pub use rules::{CheckRules, needs_active};
pub use step::Input;

use step::{CheckSubject, Step};

use super::document::Document;
use super::engine::TextFile;
use super::evaluation::{EvaluatedContent, Evaluation, Task, TaskOutcome};
use super::references::References;
use crate::domain::digest::Digest;
use crate::domain::name::PolicyId;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{Check, CheckResult, LookedUp, Report};
use crate::domain::time::Micros;

/// The checks after `limits` and `parse`, in order. Each looks at the parsed content.
const CHECKS: &[CheckFunction] =
    &[json_schema::check, references::check, requires::check, label::check, guardrails::check];
/// The checks after those, each only in the reports of policies of its kind.
const CHECKS_OF_KINDS: &[(PolicyKind, CheckFunction)] = &[
    (PolicyKind::Cedar, engine::check_cedar),
    (PolicyKind::Rego, engine::check_rego),
    (PolicyKind::Template, template::check),
];

type CheckFunction = fn(&CheckSubject<'_>) -> Step;

/// The checks of one version, without the evaluation of untrusted text.
pub struct Started {
    digest: Digest,
    rules: String,
    /// The checks in order; one that a worker evaluates has the number of its tasks.
    checks: Vec<StartedCheck>,
    /// The index of the first task that runs last.
    last_from: usize,
    looked_up: Vec<LookedUp>,
}

enum StartedCheck {
    Done(Check),
    Evaluated { count: usize, run_last: bool, conclude: Box<dyn FnOnce(Vec<TaskOutcome>) -> Check + Send + Sync> },
}

/// The checks of the content by itself, and what they found in it.
pub struct ParsedInput {
    limits: Check,
    parsed: parse::Parsed,
    references: References,
}

/// Runs the checks that need only the content.
#[must_use]
pub fn parse_input(input: &Input<'_>) -> ParsedInput {
    let limits = limits::check(input.content);
    let parsed = if limits.result == CheckResult::Failed {
        parse::Parsed::skipped("not parsed: the content is outside the limits")
    } else {
        parse::check(input)
    };
    let keys: Vec<&str> = input.settings.reference_keys().collect();
    // References of a template are those of what is made from it.
    let document = parsed.document.as_ref().filter(|_| input.kind != PolicyKind::Template);
    let references = document.map(|document| References::find(&document.value, &keys)).unwrap_or_default();
    ParsedInput { limits, parsed, references }
}

impl ParsedInput {
    /// Returns the other policies that the content refers to.
    #[must_use]
    pub fn referenced_policies(&self) -> BTreeSet<&PolicyId> {
        self.references.policies().collect()
    }
}

/// Runs every other bounded check, and returns the evaluation to be answered, if any.
#[must_use]
pub fn start(input: &Input<'_>, parsed: ParsedInput, others: &OtherPolicies) -> (Started, Option<Evaluation>) {
    let ParsedInput { limits, parsed, references } = parsed;
    let parse::Parsed { step, document, texts } = parsed;
    let subject = CheckSubject { input, document, texts, references, others };
    let of_kind = CHECKS_OF_KINDS.iter().filter(|(kind, _)| *kind == input.kind).map(|(_, check)| check);
    let steps = [Step::Done(limits), step].into_iter();
    let steps = steps.chain(CHECKS.iter().chain(of_kind).map(|check| check(&subject)));
    let (mut checks, mut tasks, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        checks.push(match step {
            Step::Done(check) => StartedCheck::Done(check),
            Step::Evaluate { tasks: own, run_last, conclude } => {
                let count = own.len();
                if run_last { &mut last } else { &mut tasks }.extend(own);
                StartedCheck::Evaluated { count, run_last, conclude }
            }
        });
    }
    let last_from = tasks.len();
    tasks.append(&mut last);
    let (digest, rules) = (input.digest.clone(), rules_of(input).hash());
    let evaluation = (!tasks.is_empty()).then(|| {
        let facts = guardrails::with_text(input.facts.clone(), input.content, input.guardrails);
        Evaluation { content: evaluated(subject.document, subject.texts), facts, tasks }
    });
    (Started { digest, rules, checks, last_from, looked_up: others.looked_up() }, evaluation)
}

fn evaluated(document: Option<Document>, texts: Vec<TextFile>) -> EvaluatedContent {
    match document {
        None if !texts.is_empty() => EvaluatedContent::Texts(texts),
        // A guardrail sees content that is neither document nor text as null.
        None => EvaluatedContent::Document(serde_json::Value::Null),
        Some(Document { value: serde_json::Value::Array(documents), stream: Some(_), .. }) => {
            EvaluatedContent::Documents(documents)
        }
        Some(Document { value: serde_json::Value::Object(files), is_of_files: true, .. }) => {
            EvaluatedContent::DocumentFiles(files)
        }
        Some(Document { value, .. }) => EvaluatedContent::Document(value),
    }
}

/// Returns the evaluation of the guardrails alone, for a content that was published before.
#[must_use]
pub fn evaluate_guardrails(input: &Input<'_>) -> Evaluation {
    let parse::Parsed { document, texts, .. } = parse::check(input);
    let tasks = input.guardrails.iter().cloned().map(Task::Guardrail).collect();
    let facts = guardrails::with_text(input.facts.clone(), input.content, input.guardrails);
    Evaluation { content: evaluated(document, texts), facts, tasks }
}

/// Returns the document of a content, as far as it is parsed here: JSON and YAML, of several files by their paths.
#[must_use]
pub fn document_of(kind: PolicyKind, has_several_files: bool, content: &[u8]) -> Option<Document> {
    parse::parse_content(kind, has_several_files, content).document
}

/// Returns a content as guardrails see it; null when it is neither document nor text.
#[must_use]
pub fn content_value(kind: PolicyKind, has_several_files: bool, content: &[u8]) -> serde_json::Value {
    let parse::Parsed { document, texts, .. } = parse::parse_content(kind, has_several_files, content);
    evaluated(document, texts).to_value()
}

/// Returns the rules of an input.
fn rules_of<'a>(input: &Input<'a>) -> CheckRules<'a> {
    let Input { kind, settings, guardrails, facts, active_version, .. } = *input;
    CheckRules { kind, settings, guardrails, facts, active_version }
}

impl Started {
    /// Returns the report. `outcomes` are those of the tasks from `start`, in order; a task without one was not run.
    #[must_use]
    pub fn report(self, mut outcomes: Vec<TaskOutcome>, now: Micros) -> Report {
        let mut last = outcomes.split_off(self.last_from.min(outcomes.len())).into_iter();
        let mut outcomes = outcomes.into_iter();
        let mut conclude = |check| match check {
            StartedCheck::Done(check) => check,
            StartedCheck::Evaluated { count, run_last: false, conclude } => {
                conclude(outcomes.by_ref().take(count).collect())
            }
            StartedCheck::Evaluated { count, run_last: true, conclude } => {
                conclude(last.by_ref().take(count).collect())
            }
        };
        let checks = self.checks.into_iter().map(&mut conclude).collect();
        Report { looked_up: self.looked_up, ..Report::new(self.digest, self.rules, checks, now) }
    }
}

impl fmt::Debug for ParsedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedInput").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("digest", &self.digest).field("rules", &self.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
