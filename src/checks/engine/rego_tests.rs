//! Runs the tests of a Rego content, as `opa test` does: rules named `test_*` in files named `*_test.rego`.

use std::collections::BTreeMap;

use regorus::unstable::{Rule, RuleHead};
use regorus::{Engine, Value};

use super::rego_error::message_of;
use super::texts::{TextFile, file_name};
use crate::checks::check_limit::ANSWER_FINDINGS_MAX;
use crate::checks::content_tar::REGO_TESTS_END;
use crate::domain::counted_noun::counted_noun;
use crate::domain::report::{CheckFinding, Severity};

/// The beginning of the name of a test.
const TEST: &str = "test_";

/// Where a test is.
struct Place {
    file: String,
    line: u32,
    column: u32,
}

/// Runs every test, and returns those that failed after a summary. Without tests it finds nothing.
pub(super) fn run_tests(engine: &mut Engine, files: &[TextFile]) -> Vec<CheckFinding> {
    let tests = tests_of(engine, files);
    let mut failed = Vec::new();
    for (path, place) in &tests {
        let message = match engine.eval_rule(path.clone()) {
            Ok(Value::Bool(true)) => None,
            Ok(_) => Some(format!("{path} failed")),
            Err(error) => Some(format!("{path} ended with an error: {}", message_of(&error.to_string()))),
        };
        // What a test printed is nobody's: dropped here, so that it does not add up.
        let _ = engine.take_prints();
        failed.extend(message.map(|message| {
            CheckFinding::new(Severity::Error, crate::checks::parse_failure::shortened(&message))
                .in_file(place.file.clone())
                .at_place(place.line, place.column)
                .with_hint("correct the policy or its test, and draft it again")
        }));
    }
    let summary = match (tests.len(), failed.len()) {
        (0, _) => return Vec::new(),
        (all, 0) => CheckFinding::new(Severity::Info, format!("{} passed", counted_noun(all, "test", "tests"))),
        (all, failed) => {
            CheckFinding::new(Severity::Error, format!("{failed} of {} failed", counted_noun(all, "test", "tests")))
        }
    };
    let mut findings = vec![summary];
    findings.append(&mut failed);
    findings.truncate(ANSWER_FINDINGS_MAX);
    findings
}

/// Returns the path of each test, with the place of the first rule of that name.
fn tests_of(engine: &mut Engine, files: &[TextFile]) -> BTreeMap<String, Place> {
    let mut tests = BTreeMap::new();
    for module in engine.get_modules().iter() {
        let file = module.package.span.source.get_path().clone();
        let is_of_tests = files.iter().any(|each| each.path == file) && file_name(&file).ends_with(REGO_TESTS_END);
        if !is_of_tests {
            continue;
        }
        let package = module.package.refr.span().text().to_owned();
        for rule in &module.policy {
            let Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } = rule.as_ref() else { continue };
            let span = refr.span();
            if span.text().starts_with(TEST) {
                let place = Place { file: file.clone(), line: span.line, column: span.col };
                tests.entry(format!("data.{package}.{}", span.text())).or_insert(place);
            }
        }
    }
    tests
}
