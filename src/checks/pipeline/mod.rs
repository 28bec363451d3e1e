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
pub use rules::{Rules, needs_active};
pub use step::Input;

use step::{Step, Subject};

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
const CHECKS: &[fn(&Subject<'_>) -> Step] =
    &[json_schema::check, references::check, requires::check, label::check, guardrails::check];
/// The checks after those, each only in the reports of policies of its kind.
const CHECKS_OF_KINDS: &[(PolicyKind, CheckFunction)] = &[
    (PolicyKind::Cedar, engine::check_cedar),
    (PolicyKind::Rego, engine::check_rego),
    (PolicyKind::Template, template::check),
];

type CheckFunction = fn(&Subject<'_>) -> Step;

/// The checks of one version, without the evaluation of untrusted text.
pub struct Started {
    digest: Digest,
    rules: String,
    /// The checks in order; for those that are evaluated with the number of their tasks.
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
    let subject = Subject { input, document, texts, references, others };
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

/// Returns a content as guardrails see it; null when it is neither document nor text.
#[must_use]
pub fn content_value(kind: PolicyKind, has_several_files: bool, content: &[u8]) -> serde_json::Value {
    let parse::Parsed { document, texts, .. } = parse::parse_content(kind, has_several_files, content);
    evaluated(document, texts).to_value()
}

/// Returns the rules of an input.
fn rules_of<'a>(input: &Input<'a>) -> Rules<'a> {
    let Input { kind, settings, guardrails, facts, active_version, .. } = *input;
    Rules { kind, settings, guardrails, facts, active_version }
}

impl Started {
    /// Returns the report. `outcomes` are those of the tasks from `start`, in order; a task without one was not run.
    #[must_use]
    pub fn report(self, outcomes: Vec<TaskOutcome>, now: Micros) -> Report {
        let mut outcomes = outcomes;
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
mod tests {
    use super::*;
    use crate::checks::{CheckLimit, Facts};
    use crate::domain::label::Label;
    use crate::domain::limits::{CHECK_FINDINGS_MAX, CONTENT_MAX_BYTES};
    use crate::domain::policy::PolicySettings;
    use crate::domain::report::JSON_SCHEMA_CHECK;

    fn labels(texts: &[&str]) -> Vec<Label> {
        texts.iter().map(|text| Label::parse("label", text).unwrap()).collect()
    }

    fn report(
        kind: PolicyKind,
        content: &[u8],
        settings: &PolicySettings,
        label: Option<&str>,
        published: &[&str],
    ) -> Report {
        let digest = Digest::from_sha256(&[7; 32]);
        let label = label.map(|text| Label::parse("label", text).unwrap());
        let published = labels(published);
        let input = Input {
            kind,
            content,
            content_type: None,
            digest: &digest,
            label: label.as_ref(),
            settings,
            has_several_files: false,
            published_labels: &published,
            guardrails: &[],
            facts: &Facts::default(),
            active_version: 0,
        };
        let (started, asked) = start_alone(&input);
        let outcomes = asked.iter().flat_map(Evaluation::answers).map(TaskOutcome::Answered).collect();
        started.report(outcomes, Micros(42))
    }

    /// Starts the checks of a version that names no other policy.
    fn start_alone(input: &Input<'_>) -> (Started, Option<Evaluation>) {
        start(input, parse_input(input), &OtherPolicies::default())
    }

    fn results(report: &Report) -> Vec<(&str, CheckResult)> {
        report.checks.iter().map(|check| (check.id.as_str(), check.result)).collect()
    }

    use CheckResult::{Failed, Passed, Skipped};

    #[test]
    fn a_sound_version_passes_and_the_report_names_it() {
        let settings = PolicySettings { json_schema: r#"{"type":"object"}"#.to_owned(), ..Default::default() };
        let report = report(PolicyKind::Yaml, b"a: 1\n", &settings, Some("1.0.1"), &["1.0.0"]);
        assert_eq!(
            results(&report),
            [
                ("limits", Passed),
                ("parse", Passed),
                ("json-schema", Passed),
                ("references", Skipped),
                ("requires", Skipped),
                ("label", Passed),
                ("guardrails", Skipped)
            ]
        );
        assert!(report.passed());
        assert_eq!((report.time, report.digest), (Micros(42), Digest::from_sha256(&[7; 32])));
    }

    #[test]
    fn limits_hold_at_their_edges_and_nothing_beyond_is_parsed() {
        let settings = PolicySettings::default();
        let of = |size: usize| report(PolicyKind::Json, &vec![b'1'; size], &settings, None, &[]);
        assert_eq!(
            results(&of(1)),
            [
                ("limits", Passed),
                ("parse", Passed),
                ("json-schema", Skipped),
                ("references", Skipped),
                ("requires", Skipped),
                ("label", Skipped),
                ("guardrails", Skipped)
            ]
        );
        assert_eq!(of(CONTENT_MAX_BYTES).checks[0].result, Passed);
        for size in [0, CONTENT_MAX_BYTES + 1] {
            assert_eq!(results(&of(size))[..2], [("limits", Failed), ("parse", Skipped)], "{size}");
        }
    }

    #[test]
    fn a_parse_failure_has_its_place_and_skips_the_schema() {
        let settings = PolicySettings { json_schema: "{}".to_owned(), ..Default::default() };
        let report = report(PolicyKind::Json, b"{\"a\": [1,\n x]}", &settings, None, &[]);
        assert_eq!(
            results(&report),
            [
                ("limits", Passed),
                ("parse", Failed),
                ("json-schema", Skipped),
                ("references", Skipped),
                ("requires", Skipped),
                ("label", Skipped),
                ("guardrails", Skipped)
            ]
        );
        let (check, found) = report.failures().next().unwrap();
        assert_eq!((check, found.line, found.column, found.pointer.as_str()), ("parse", 2, 2, "/a/1"));
        assert!(!found.hint.is_empty());
    }

    #[test]
    fn opaque_content_is_not_parsed() {
        let settings = PolicySettings { json_schema: "{}".to_owned(), ..Default::default() };
        let report = report(PolicyKind::Opaque, b"permit;", &settings, None, &[]);
        assert_eq!(results(&report)[1..3], [("parse", Skipped), ("json-schema", Skipped)]);
    }

    #[test]
    fn content_of_another_type_than_the_kind_fails() {
        let (digest, settings) = (Digest::from_sha256(&[7; 32]), PolicySettings::default());
        for (content_type, result) in [(None, Passed), (Some("text/yaml"), Passed), (Some("text/plain"), Failed)] {
            let kind = PolicyKind::Yaml;
            let input = Input {
                kind,
                content: b"a: 1",
                content_type,
                digest: &digest,
                label: None,
                settings: &settings,
                has_several_files: false,
                published_labels: &[],
                guardrails: &[],
                facts: &Facts::default(),
                active_version: 0,
            };
            let report = start_alone(&input).0.report(Vec::new(), Micros(42));
            assert_eq!(report.checks[1].result, result, "{content_type:?}");
        }
    }

    #[test]
    fn every_schema_error_is_a_finding_up_to_a_bound() {
        let settings =
            PolicySettings { json_schema: r#"{"items":{"type":"string"}}"#.to_owned(), ..Default::default() };
        let two = report(PolicyKind::Json, b"[1,\"x\",2]", &settings, None, &[]);
        let found: Vec<_> = two.failures().map(|(check, found)| (check, found.pointer.as_str())).collect();
        assert_eq!(found, [(JSON_SCHEMA_CHECK, "/0"), (JSON_SCHEMA_CHECK, "/2")]);
        let content = format!("[{}1]", "1,".repeat(500));
        let many = report(PolicyKind::Json, content.as_bytes(), &settings, None, &[]);
        let found: Vec<_> = many.failures().map(|(_, found)| found.hint.as_str()).collect();
        assert_eq!(found.len(), CHECK_FINDINGS_MAX);
        assert!(found[CHECK_FINDINGS_MAX - 1].starts_with("there are more: the first 20 are listed"), "{found:?}");
        let content = format!("[{}1]", "1,".repeat(CHECK_FINDINGS_MAX - 1));
        let all = report(PolicyKind::Json, content.as_bytes(), &settings, None, &[]);
        let hints: Vec<_> = all.failures().map(|(_, found)| found.hint.as_str()).collect();
        assert_eq!(hints.len(), CHECK_FINDINGS_MAX);
        assert!(hints.iter().all(|hint| !hint.starts_with("there are more")), "{hints:?}");
    }

    #[test]
    fn a_schema_that_no_longer_compiles_fails_the_check() {
        let settings = PolicySettings { json_schema: r#"{"type":"nonsense"}"#.to_owned(), ..Default::default() };
        let report = report(PolicyKind::Json, b"{}", &settings, None, &[]);
        let (_, found) = report.failures().next().unwrap();
        assert!(found.message.starts_with("the policy's JSON Schema does not compile: "), "{found:?}");
    }

    #[test]
    fn a_check_over_its_limit_fails_and_one_that_nobody_asked_too() {
        let settings = PolicySettings { json_schema: "{}".to_owned(), ..Default::default() };
        let (digest, label) = (Digest::from_sha256(&[7; 32]), None);
        let input = Input {
            kind: PolicyKind::Json,
            content: b"null",
            content_type: None,
            digest: &digest,
            label,
            settings: &settings,
            has_several_files: false,
            published_labels: &[],
            guardrails: &[],
            facts: &Facts::default(),
            active_version: 0,
        };
        for outcome in [Some(TaskOutcome::OverLimit(CheckLimit::Cpu)), Some(TaskOutcome::NotRun), None] {
            let is_over = matches!(outcome, Some(TaskOutcome::OverLimit(_)));
            let report = start_alone(&input).0.report(outcome.into_iter().collect(), Micros(42));
            let (check, failure) = report.failures().next().unwrap();
            assert_eq!(check, "json-schema");
            assert_eq!(failure.message.starts_with("CHECK_LIMIT_EXCEEDED (cpu): "), is_over, "{failure:?}");
        }
    }
}
