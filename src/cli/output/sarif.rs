//! Formats findings as SARIF 2.1.0 (OASIS), which code hosts show at the lines of a change.

use serde_json::{Map, Value, json};

use crate::cli::output::excerpt::{ShownContent, path_of};
use crate::client::pb;

/// Where the format is defined.
const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Returns a log of one run with the findings of these contents. What was only looked at is not a result.
#[must_use]
pub fn log<'a>(reports: impl Iterator<Item = (ShownContent<'a>, &'a pb::ValidationReport)>) -> Value {
    let (mut rules, mut results) = (Vec::new(), Vec::new());
    for (content, report) in reports {
        for check in &report.checks {
            for found in check.findings.iter().filter(|found| level(found).is_some()) {
                if !rules.contains(&check.id) {
                    rules.push(check.id.clone());
                }
                results.push(result(content, &check.id, found));
            }
        }
    }
    let rules: Vec<Value> = rules.into_iter().map(|id| json!({"id": id})).collect();
    of_run(rules, json!({"results": results}))
}

/// Returns a log of one run that failed before it found anything: a message, the exit code, and the file with line and column (0:
/// unknown) that the message is about.
#[must_use]
pub fn failed_log(message: &str, exit_code: u8, place: Option<&(String, u32, u32)>) -> Value {
    let locations: Vec<Value> = place.map(|(path, line, column)| physical(path, *line, *column)).into_iter().collect();
    let notification = json!({
        "level": "error",
        "message": {"text": message},
        "locations": locations.iter().map(|physical| json!({"physicalLocation": physical})).collect::<Vec<_>>(),
    });
    let invocation = json!({
        "executionSuccessful": false,
        "exitCode": exit_code,
        "toolExecutionNotifications": [notification],
    });
    of_run(Vec::new(), json!({"invocations": [invocation], "results": []}))
}

/// Returns a log of one run with these rules and members.
fn of_run(rules: Vec<Value>, mut run: Value) -> Value {
    let driver = json!({"name": "policyhub", "version": env!("CARGO_PKG_VERSION"), "rules": rules});
    if let Value::Object(members) = &mut run {
        members.insert("tool".to_owned(), json!({"driver": driver}));
        members.insert("columnKind".to_owned(), "unicodeCodePoints".into());
    }
    json!({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})
}

/// Returns a place in a file; line 0: the whole file.
fn physical(path: &str, line: impl Into<i64>, column: impl Into<i64>) -> Value {
    let (line, column): (i64, i64) = (line.into(), column.into());
    let mut physical = Map::from_iter([("artifactLocation".to_owned(), json!({"uri": uri(path)}))]);
    if line > 0 {
        physical.insert("region".to_owned(), json!({"startLine": line, "startColumn": column}));
    }
    Value::Object(physical)
}

fn level(found: &pb::Finding) -> Option<&'static str> {
    match found.severity() {
        pb::finding::Severity::Error => Some("error"),
        pb::finding::Severity::Warning => Some("warning"),
        _ => None,
    }
}

fn result(content: ShownContent<'_>, check: &str, found: &pb::Finding) -> Value {
    let physical = physical(&path_of(content.path, &found.file), found.line, found.column);
    let mut location = Map::from_iter([("physicalLocation".to_owned(), physical)]);
    if !found.pointer.is_empty() {
        location.insert("logicalLocations".to_owned(), json!([{"fullyQualifiedName": found.pointer}]));
    }
    let hint = if found.hint.is_empty() { String::new() } else { format!("\n{}", found.hint) };
    json!({
        "ruleId": check,
        "level": level(found),
        "message": {"text": format!("{}{hint}", found.message)},
        "locations": [location],
    })
}

/// Returns a path as a relative reference (RFC 3986 §4.2), or with the scheme `file` when it is absolute.
fn uri(path: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@');
    let encoded = utf8_percent_encode(path.strip_prefix("./").unwrap_or(path), KEPT);
    if path.starts_with('/') { format!("file://{encoded}") } else { encoded.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::terminal_style::TerminalStyle;

    #[test]
    fn a_finding_is_a_result_at_its_line() {
        let found = |severity: pb::finding::Severity| pb::Finding {
            severity: severity.into(),
            message: "over 20".to_owned(),
            pointer: "/max".to_owned(),
            line: 2,
            column: 7,
            hint: "lower it".to_owned(),
            ..Default::default()
        };
        let findings = vec![found(pb::finding::Severity::Error), found(pb::finding::Severity::Info)];
        let check = pb::Check { id: "guardrails".to_owned(), result: pb::check::Result::Failed.into(), findings };
        let report = pb::ValidationReport { checks: vec![check], ..Default::default() };
        let style = TerminalStyle::PLAIN;
        let content = ShownContent { path: "./a b/c.yaml", content_type: "", content: b"", style };
        let log = log([(content, &report)].into_iter());
        let run = &log["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"], json!([{"id": "guardrails"}]));
        let expected = json!([{
            "ruleId": "guardrails",
            "level": "error",
            "message": {"text": "over 20\nlower it"},
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": {"uri": "a%20b/c.yaml"},
                    "region": {"startLine": 2, "startColumn": 7},
                },
                "logicalLocations": [{"fullyQualifiedName": "/max"}],
            }],
        }]);
        assert_eq!(run["results"], expected);
    }
}
