//! Runs every check of one version, in the order of one list, and makes the report that is stored and shown.
//!
//! Two steps: `start` runs all checks that are bounded, and the caller has the evaluation of untrusted text answered elsewhere. Total:
//! any content ends with a report. Each id occurs once; a check that does not apply says why. A check that depends on a failed one is
//! skipped, so one fault is one failure.

mod engine;
mod json_schema;
mod label;
mod limits;
mod parse;

use std::fmt;

pub use label::check_label;

use super::document::Document;
use super::engine::TextFile;
use super::evaluation::{EvaluatedContent, Evaluation, Task, TaskOutcome};
use crate::domain::digest::{Digest, short_hash};
use crate::domain::label::Label;
use crate::domain::policy::{PolicyKind, PolicySettings};
use crate::domain::report::{Check, CheckResult, Report};
use crate::domain::time::Micros;

/// Raised when a check gives another result for the same content than in the release before.
const CHECKS_REVISION: u32 = 1;

/// The checks after `limits` and `parse`, in order. Each looks at the parsed content.
const CHECKS: &[fn(&Subject<'_>) -> Step] = &[json_schema::check, label::check];
/// The checks after those, each only in the reports of policies of its kind.
const CHECKS_OF_KINDS: &[(PolicyKind, CheckFunction)] =
    &[(PolicyKind::Cedar, engine::check_cedar), (PolicyKind::Rego, engine::check_rego)];

/// The input of a report.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The policy's language.
    pub kind: PolicyKind,
    /// The version's exact bytes.
    pub content: &'a [u8],
    /// The media type, when it must be one of the kind: the kind may have changed since the draft.
    pub content_type: Option<&'a str>,
    /// Says whether the media type is that of a content of several files.
    pub has_several_files: bool,
    /// The digest, copied into the report.
    pub digest: &'a Digest,
    /// The version's label, if any.
    pub label: Option<&'a Label>,
    /// The policy's current settings.
    pub settings: &'a PolicySettings,
    /// Labels of the policy's other published versions, in any order.
    pub published_labels: &'a [Label],
}

/// What a check looks at: the input, and its content as a document if it is one, or as texts for an engine.
#[derive(Debug)]
struct Subject<'a> {
    input: &'a Input<'a>,
    document: Option<Document>,
    texts: Vec<TextFile>,
}

type CheckFunction = fn(&Subject<'_>) -> Step;

/// The result of one check so far.
enum Step {
    /// It has ended.
    Done(Check),
    /// It has tasks for a worker. `conclude` makes the check of their outcomes.
    Evaluate { tasks: Vec<Task>, conclude: Box<dyn FnOnce(Vec<TaskOutcome>) -> Check + Send> },
}

impl Step {
    fn evaluate(tasks: Vec<Task>, conclude: impl FnOnce(Vec<TaskOutcome>) -> Check + Send + 'static) -> Self {
        Self::Evaluate { tasks, conclude: Box::new(conclude) }
    }
}

/// The checks of one version, without the evaluation of untrusted text.
pub struct Started {
    digest: Digest,
    rules: String,
    /// The checks in order; for those that are evaluated with the number of their tasks.
    checks: Vec<StartedCheck>,
}

enum StartedCheck {
    Done(Check),
    Evaluated { tasks: usize, conclude: Box<dyn FnOnce(Vec<TaskOutcome>) -> Check + Send> },
}

/// Runs every bounded check, and returns the evaluation to be answered, if any.
#[must_use]
pub fn start(input: &Input<'_>) -> (Started, Option<Evaluation>) {
    let limits = limits::check(input.content);
    let parsed = if limits.result == CheckResult::Failed {
        parse::Parsed::skipped("not parsed: the content is outside the limits")
    } else {
        parse::check(input)
    };
    let subject = Subject { input, document: parsed.document, texts: parsed.texts };
    let mut checks = vec![StartedCheck::Done(limits)];
    let mut tasks = Vec::new();
    let mut add = |step: Step| {
        checks.push(match step {
            Step::Done(check) => StartedCheck::Done(check),
            Step::Evaluate { tasks: mut own, conclude } => {
                let count = own.len();
                tasks.append(&mut own);
                StartedCheck::Evaluated { tasks: count, conclude }
            }
        });
    };
    add(parsed.step);
    CHECKS.iter().for_each(|check| add(check(&subject)));
    let of_kind = CHECKS_OF_KINDS.iter().filter(|(kind, _)| *kind == input.kind);
    of_kind.for_each(|(_, check)| add(check(&subject)));
    let (digest, rules) = (input.digest.clone(), rules(input.kind, input.settings));
    let evaluation = (!tasks.is_empty()).then(|| Evaluation { content: evaluated(subject), tasks });
    (Started { digest, rules, checks }, evaluation)
}

fn evaluated(subject: Subject<'_>) -> EvaluatedContent {
    match subject.document {
        None if subject.texts.is_empty() => EvaluatedContent::None,
        None => EvaluatedContent::Texts(subject.texts),
        Some(Document { value: serde_json::Value::Array(documents), stream: Some(_), .. }) => {
            EvaluatedContent::Documents(documents)
        }
        Some(Document { value: serde_json::Value::Object(files), is_of_files: true, .. }) => {
            EvaluatedContent::DocumentFiles(files)
        }
        Some(Document { value, .. }) => EvaluatedContent::Document(value),
    }
}

/// Returns a hash of all that determines the result for a content: a policy's kind and settings, and this program. For the same
/// bytes and rules the checks would give the same report again.
#[must_use]
pub fn rules(kind: PolicyKind, settings: &PolicySettings) -> String {
    let kind = kind.content_type();
    short_hash([&CHECKS_REVISION.to_be_bytes(), kind.as_bytes(), settings.json_schema.as_bytes()])
}

impl Started {
    /// Returns the report. `outcomes` are those of the tasks from `start`, in order; a task without one was not run.
    #[must_use]
    pub fn report(self, outcomes: Vec<TaskOutcome>, now: Micros) -> Report {
        let mut outcomes = outcomes.into_iter();
        let mut conclude = |check| match check {
            StartedCheck::Done(check) => check,
            StartedCheck::Evaluated { tasks, conclude } => conclude(outcomes.by_ref().take(tasks).collect()),
        };
        let checks = self.checks.into_iter().map(&mut conclude).collect();
        Report::new(self.digest, self.rules, checks, now)
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").field("digest", &self.digest).field("rules", &self.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::json_schema::JSON_SCHEMA;
    use super::*;
    use crate::checks::CheckLimit;
    use crate::domain::limits::{CHECK_FINDINGS_MAX, CONTENT_MAX_BYTES};

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
            has_several_files: false,
            digest: &digest,
            label: label.as_ref(),
            settings,
            published_labels: &published,
        };
        let (started, asked) = start(&input);
        let outcomes = asked.iter().flat_map(Evaluation::answers).map(TaskOutcome::Answered).collect();
        started.report(outcomes, Micros(42))
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
            [("limits", Passed), ("parse", Passed), ("json-schema", Passed), ("label", Passed)]
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
            [("limits", Passed), ("parse", Passed), ("json-schema", Skipped), ("label", Skipped)]
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
            [("limits", Passed), ("parse", Failed), ("json-schema", Skipped), ("label", Skipped)]
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
                has_several_files: false,
                digest: &digest,
                label: None,
                settings: &settings,
                published_labels: &[],
            };
            let report = start(&input).0.report(Vec::new(), Micros(42));
            assert_eq!(report.checks[1].result, result, "{content_type:?}");
        }
    }

    #[test]
    fn every_schema_error_is_a_finding_up_to_a_bound() {
        let settings =
            PolicySettings { json_schema: r#"{"items":{"type":"string"}}"#.to_owned(), ..Default::default() };
        let two = report(PolicyKind::Json, b"[1,\"x\",2]", &settings, None, &[]);
        let found: Vec<_> = two.failures().map(|(check, found)| (check, found.pointer.as_str())).collect();
        assert_eq!(found, [(JSON_SCHEMA, "/0"), (JSON_SCHEMA, "/2")]);
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
            has_several_files: false,
            digest: &digest,
            label,
            settings: &settings,
            published_labels: &[],
        };
        for outcome in [Some(TaskOutcome::OverLimit(CheckLimit::Cpu)), Some(TaskOutcome::NotRun), None] {
            let is_over = matches!(outcome, Some(TaskOutcome::OverLimit(_)));
            let report = start(&input).0.report(outcome.into_iter().collect(), Micros(42));
            let (check, failure) = report.failures().next().unwrap();
            assert_eq!(check, "json-schema");
            assert_eq!(failure.message.starts_with("CHECK_LIMIT_EXCEEDED (cpu): "), is_over, "{failure:?}");
        }
    }
}
