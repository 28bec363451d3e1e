//! Tests of the checks as a whole.

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
    let settings = PolicySettings { json_schema: r#"{"items":{"type":"string"}}"#.to_owned(), ..Default::default() };
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
