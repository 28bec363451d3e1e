//! Formats findings as SARIF 2.1.0 (OASIS), which code hosts show at the lines of a change.

use serde_json::{Map, Value, json};

use crate::cli::output::excerpt::ShownContent;
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
    let driver = json!({"name": "policyhub", "version": env!("CARGO_PKG_VERSION"), "rules": rules});
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    })
}

fn level(found: &pb::Finding) -> Option<&'static str> {
    match found.severity() {
        pb::finding::Severity::Error => Some("error"),
        pb::finding::Severity::Warning => Some("warning"),
        _ => None,
    }
}

fn result(content: ShownContent<'_>, check: &str, found: &pb::Finding) -> Value {
    let place = Value::from(uri(&content.path_of(&found.file)));
    let mut physical = Map::from_iter([("artifactLocation".to_owned(), json!({"uri": place}))]);
    if found.line > 0 {
        physical.insert("region".to_owned(), json!({"startLine": found.line, "startColumn": found.column}));
    }
    let mut location = Map::from_iter([("physicalLocation".to_owned(), Value::Object(physical))]);
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
        let content = ShownContent { path: "./a b/c.yaml", content_type: "", content: b"" };
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
