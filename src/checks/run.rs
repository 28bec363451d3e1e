//! Runs every check of one version, in order, and makes the report that is stored and shown.
//!
//! Two steps: `start` runs all checks that are bounded, and the caller has the schema check answered elsewhere. Total: any content
//! ends with a report. Each id occurs once; a check that does not apply says why. A check that depends on a failed one is skipped,
//! so one fault is one failure.

use serde_json::Value;

use super::document::{Document, parse};
use super::label::check_label;
use super::parse_failure::ParseFailure;
use super::schema_check::{SchemaAnswer, SchemaCheck, SchemaOutcome, SchemaTask};
use crate::domain::digest::{Digest, short_hash};
use crate::domain::label::Label;
use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::domain::policy::{PolicyKind, PolicySettings};
use crate::domain::report::{Check, CheckFinding, CheckResult, Report, Severity};
use crate::domain::time::Micros;

/// Raised when a check gives another result for the same content than in the release before.
const CHECKS_REVISION: u32 = 1;

const LIMITS: &str = "limits";
const PARSE: &str = "parse";
const JSON_SCHEMA: &str = "json-schema";

/// The input of a report.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The policy's language.
    pub kind: PolicyKind,
    /// The version's exact bytes.
    pub content: &'a [u8],
    /// The media type, when it must be one of the kind: the kind may have changed since the draft.
    pub content_type: Option<&'a str>,
    /// The digest, copied into the report.
    pub digest: &'a Digest,
    /// The version's label, if any.
    pub label: Option<&'a Label>,
    /// The policy's current settings.
    pub settings: &'a PolicySettings,
    /// Labels of the policy's other published versions, in any order.
    pub published_labels: &'a [Label],
}

/// The checks of one version, without the schema check.
#[derive(Debug)]
pub struct Started {
    digest: Digest,
    rules: String,
    limits: Check,
    parse: Check,
    /// Why the schema check is skipped. `None`: it must be answered.
    schema_skipped: Option<Check>,
    label: Check,
}

/// Runs `limits`, `parse` and `label`, and returns the schema check to be answered, if any.
#[must_use]
pub fn start(input: &Input<'_>) -> (Started, Option<SchemaCheck>) {
    let limits = limits(input.content);
    let parsed = if limits.result == CheckResult::Failed {
        Parsed::skipped("not parsed: the content is outside the limits")
    } else {
        parsed(input)
    };
    let (schema_skipped, asked) = match schema_check(input, parsed.document) {
        Ok(check) => (None, Some(check)),
        Err(why) => (Some(Check::new(JSON_SCHEMA, CheckResult::Skipped, why)), None),
    };
    let (digest, rules) = (input.digest.clone(), rules(input.kind, input.settings));
    let label = check_label(input.label, input.settings, input.published_labels);
    (Started { digest, rules, limits, parse: parsed.check, schema_skipped, label }, asked)
}

/// Returns a hash of all that determines the result for a content: a policy's kind and settings, and this program. For the same
/// bytes and rules the checks would give the same report again.
#[must_use]
pub fn rules(kind: PolicyKind, settings: &PolicySettings) -> String {
    let kind = kind.content_type();
    short_hash([&CHECKS_REVISION.to_be_bytes(), kind.as_bytes(), settings.json_schema.as_bytes()])
}

impl Started {
    /// Returns the report, in the order `limits`, `parse`, `json-schema`, `label`. `outcome` is that of the check from `start`.
    #[must_use]
    pub fn report(self, outcome: Option<SchemaOutcome>, now: Micros) -> Report {
        let mut checks = vec![self.limits, self.parse];
        match (self.schema_skipped, outcome) {
            (Some(skipped), _) => checks.push(skipped),
            (None, Some(outcome)) => checks.push(schema_outcome(outcome)),
            // A check that was not answered must not pass.
            (None, None) => checks.push(Check::new(JSON_SCHEMA, CheckResult::Failed, "not validated")),
        }
        checks.push(self.label);
        Report::new(self.digest, self.rules, checks, now)
    }
}

fn limits(content: &[u8]) -> Check {
    match content.len() {
        0 => Check::new(LIMITS, CheckResult::Failed, "content is empty").with_hint("draft it again with its content"),
        size if size > CONTENT_MAX_BYTES => {
            Check::new(LIMITS, CheckResult::Failed, format!("content is {size} bytes, over {CONTENT_MAX_BYTES}"))
                .with_hint("make several policies of it")
        }
        size => Check::new(LIMITS, CheckResult::Passed, format!("{size} of at most {CONTENT_MAX_BYTES} bytes")),
    }
}

struct Parsed {
    check: Check,
    document: Option<Document>,
}

impl Parsed {
    fn skipped(message: &str) -> Self {
        Self { check: Check::new(PARSE, CheckResult::Skipped, message), document: None }
    }
}

fn parsed(input: &Input<'_>) -> Parsed {
    if let Err(error) = input.kind.check_content_type(input.content_type.unwrap_or_default()) {
        let check = Check::new(PARSE, CheckResult::Failed, error.message);
        let check = check.with_hint("draft it again with a media type of the policy's kind");
        return Parsed { check, document: None };
    }
    match parse(input.kind, input.content) {
        Ok(None) => Parsed::skipped("OPAQUE content is not parsed"),
        Ok(document) => {
            let several = document.as_ref().and_then(|document| document.stream);
            let said =
                several.map_or("one well-formed document".to_owned(), |count| format!("{count} well-formed documents"));
            Parsed { check: Check::new(PARSE, CheckResult::Passed, said), document }
        }
        Err(ParseFailure { message, line, column, pointer }) => Parsed {
            check: failed_at(
                PARSE,
                [CheckFinding::new(Severity::Error, message)
                    .at_pointer(pointer)
                    .at_place(line, column)
                    .with_hint("correct it there and draft it again")],
            ),
            document: None,
        },
    }
}

/// Returns the schema check, or why it is skipped.
fn schema_check(input: &Input<'_>, document: Option<Document>) -> Result<SchemaCheck, &'static str> {
    if input.settings.json_schema.is_empty() {
        return Err("the policy has no JSON Schema");
    }
    if !matches!(input.kind, PolicyKind::Json | PolicyKind::Yaml) {
        return Err("JSON Schema applies to JSON and YAML alone");
    }
    let task = match document.ok_or("not validated: the content does not parse")? {
        Document { value: Value::Array(documents), stream: Some(_) } => SchemaTask::ValidateEach(documents),
        Document { value, .. } => SchemaTask::Validate(value),
    };
    Ok(SchemaCheck { schema: input.settings.json_schema.clone(), task })
}

fn failed_at(id: &str, findings: impl IntoIterator<Item = CheckFinding>) -> Check {
    Check::of(id, CheckResult::Failed, findings.into_iter().collect())
}

fn schema_outcome(outcome: SchemaOutcome) -> Check {
    let one = |result, message: String| Check::new(JSON_SCHEMA, result, message);
    let errors = match outcome {
        SchemaOutcome::OverLimit(limit) => {
            return one(CheckResult::Failed, limit.message()).with_hint("simplify the policy's JSON Schema");
        }
        SchemaOutcome::Answered(SchemaAnswer::Unusable(why)) => {
            return one(CheckResult::Failed, format!("the policy's JSON Schema does not compile: {why}"))
                .with_hint("set a JSON Schema that compiles");
        }
        SchemaOutcome::Answered(SchemaAnswer::Errors(errors)) => errors,
    };
    if errors.is_empty() {
        return one(CheckResult::Passed, "valid against the policy's JSON Schema".to_owned());
    }
    let found = |(pointer, message): (String, String)| {
        let hint = "correct it and draft it again, or change the policy's JSON Schema";
        CheckFinding::new(Severity::Error, message).at_pointer(pointer).with_hint(hint)
    };
    failed_at(JSON_SCHEMA, errors.into_iter().map(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CheckLimit;
    use crate::domain::limits::CHECK_FINDINGS_MAX;

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
            published_labels: &published,
        };
        let (started, asked) = start(&input);
        started.report(asked.map(|check| SchemaOutcome::Answered(check.answer())), Micros(42))
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
    fn kinds_without_a_parser_fail_and_opaque_is_skipped() {
        let settings = PolicySettings { json_schema: "{}".to_owned(), ..Default::default() };
        for (kind, result) in [(PolicyKind::Cedar, Failed), (PolicyKind::Rego, Failed), (PolicyKind::Opaque, Skipped)] {
            let report = report(kind, b"permit;", &settings, None, &[]);
            assert_eq!(results(&report)[1..3], [("parse", result), ("json-schema", Skipped)], "{kind:?}");
        }
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
                published_labels: &[],
            };
            let report = start(&input).0.report(None, Micros(42));
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
            digest: &digest,
            label,
            settings: &settings,
            published_labels: &[],
        };
        for outcome in [Some(SchemaOutcome::OverLimit(CheckLimit::Cpu)), None] {
            let report = start(&input).0.report(outcome.clone(), Micros(42));
            let (check, failure) = report.failures().next().unwrap();
            assert_eq!(check, "json-schema");
            assert_eq!(failure.message.starts_with("CHECK_LIMIT_EXCEEDED (cpu): "), outcome.is_some(), "{failure:?}");
        }
    }
}
