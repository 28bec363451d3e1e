//! Checks as a database keeps them.
//!
//! An earlier build kept one message and one place of a check, and a check for each error of a JSON Schema. Its rows, and the answers
//! that it kept for request ids, are read as they are; and while replicas are replaced one by one it reads those of this build, since
//! the first finding is written in its form too.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Check, CheckFinding, CheckResult};

#[derive(Serialize, Deserialize)]
struct KeptCheck {
    id: String,
    result: CheckResult,
    message: String,
    pointer: String,
    line: u32,
    column: u32,
    /// Is none in a report of an earlier build.
    #[serde(default)]
    findings: Option<Vec<CheckFinding>>,
}

impl From<&Check> for KeptCheck {
    fn from(check: &Check) -> Self {
        let first = check.findings.first();
        let text = |of: fn(&CheckFinding) -> &String| first.map(|finding| of(finding).clone()).unwrap_or_default();
        Self {
            id: check.id.clone(),
            result: check.result,
            message: text(|finding| &finding.message),
            pointer: text(|finding| &finding.pointer),
            line: first.map_or(0, |finding| finding.line),
            column: first.map_or(0, |finding| finding.column),
            findings: Some(check.findings.clone()),
        }
    }
}

impl From<KeptCheck> for Check {
    fn from(kept: KeptCheck) -> Self {
        let KeptCheck { id, result, message, pointer, line, column, findings } = kept;
        let of_earlier_build =
            || vec![CheckFinding::new(result.severity(), message).at_pointer(pointer).at_place(line, column)];
        Self { id, result, findings: findings.unwrap_or_else(of_earlier_build) }
    }
}

/// Writes checks.
pub(super) fn serialize<S: Serializer>(checks: &[Check], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(checks.iter().map(KeptCheck::from))
}

/// Reads checks; those in a row with one id are one.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Check>, D::Error> {
    let mut checks: Vec<Check> = Vec::new();
    for kept in Vec::<KeptCheck>::deserialize(deserializer)? {
        let check = Check::from(kept);
        match checks.last_mut() {
            Some(before) if before.id == check.id => before.findings.extend(check.findings),
            _ => checks.push(check),
        }
    }
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use super::super::{LookedUp, Report, Severity};
    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::name::PolicyId;
    use crate::domain::time::Micros;

    /// Reads a check as the build before findings wrote it.
    const EARLIER: &str = r#"{"digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","rules":"r","checks":[
        {"id":"limits","result":"PASSED","message":"2 of at most 9 bytes","pointer":"","line":0,"column":0},
        {"id":"json-schema","result":"FAILED","message":"no number","pointer":"/a","line":0,"column":0},
        {"id":"json-schema","result":"FAILED","message":"no text","pointer":"/b","line":3,"column":7},
        {"id":"label","result":"SKIPPED","message":"the version has no label","pointer":"","line":0,"column":0}],"time":42}"#;

    #[test]
    fn a_report_of_an_earlier_build_is_read() {
        let report: Report = serde_json::from_str(EARLIER).expect("a report");
        let expected = vec![
            Check::new("limits", CheckResult::Passed, "2 of at most 9 bytes"),
            Check::of(
                "json-schema",
                CheckResult::Failed,
                vec![
                    CheckFinding::new(Severity::Error, "no number").at_pointer("/a"),
                    CheckFinding::new(Severity::Error, "no text").at_pointer("/b").at_place(3, 7),
                ],
            ),
            Check::new("label", CheckResult::Skipped, "the version has no label"),
        ];
        assert_eq!(report, Report::new(Digest::from_sha256(&[7; 32]), "r".to_owned(), expected, Micros(42)));
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_an_earlier_build_reads_it_too() {
        let findings = vec![
            CheckFinding::new(Severity::Error, "no number").at_pointer("/a").with_hint("correct it"),
            CheckFinding::new(Severity::Info, "seen").at_place(3, 7),
        ];
        let checks =
            vec![Check::of("json-schema", CheckResult::Failed, findings), Check::of("a", CheckResult::Passed, vec![])];
        let report = Report::new(Digest::from_sha256(&[7; 32]), String::new(), checks, Micros(42));
        let text = serde_json::to_string(&report).expect("JSON");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("a report"), report);
        assert!(!text.contains("looked_up"), "who looked up nothing writes what the earlier build wrote: {text}");
        let looked_up = vec![
            LookedUp { policy: PolicyId::parse("p", "p").expect("an id"), version: 0, digest: None },
            LookedUp {
                policy: PolicyId::parse("q", "q").expect("an id"),
                version: 3,
                digest: Some(Digest::from_sha256(&[9; 32])),
            },
        ];
        let with_others = Report { looked_up, ..report };
        let others = serde_json::to_string(&with_others).expect("JSON");
        assert_eq!(serde_json::from_str::<Report>(&others).expect("a report"), with_others);
        let written: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for check in written["checks"].as_array().expect("checks") {
            assert!(check["message"].is_string() && check["pointer"].is_string(), "{check}");
            assert!(check["line"].is_u64() && check["column"].is_u64(), "{check}");
        }
        assert_eq!(
            (&written["checks"][0]["message"], &written["checks"][0]["pointer"]),
            (&"no number".into(), &"/a".into())
        );
    }
}
