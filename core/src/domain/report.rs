//! Validation reports: what the checks of a version found.
//!
//! Invariant: a check that failed has a finding that says what, and a report never gets larger than its bounds.

mod kept;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::limits::{CHECK_FINDINGS_MAX, REPORT_MAX_BYTES};
use super::name::PolicyId;
use super::time::Micros;

/// Id of the check of the size of a content.
pub const LIMITS_CHECK: &str = "limits";
/// Id of the check that a content parses.
pub const PARSE_CHECK: &str = "parse";
/// Id of the check that validates against the policy's JSON Schema.
pub const JSON_SCHEMA_CHECK: &str = "json-schema";
/// Id of the check that evaluates guardrails.
pub const GUARDRAILS_CHECK: &str = "guardrails";
/// Id of the check that looks at the label of a version, and at no content.
pub const LABEL_CHECK: &str = "label";
/// Id of the check that resolves references.
pub const REFERENCES_CHECK: &str = "references";
/// Id of the check that looks at what a version requires of other policies.
pub const REQUIRES_CHECK: &str = "requires";
/// Id of the check of Cedar policies against the schema of their content.
pub const CEDAR_CHECK: &str = "cedar";
/// Id of the check that compiles and tests the modules of Rego.
pub const REGO_CHECK: &str = "rego";
/// Id of the check that contents can be made from a template.
pub const TEMPLATE_CHECK: &str = "template";

/// Bounds what a finding takes in a report beside its texts: its fields, with the names that they are kept under.
const FINDING_FIXED_BYTES: usize = 128;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum CheckResult {
    /// What is checked holds.
    Passed,
    /// What is checked does not hold: the version can't be staged.
    Failed,
    /// What is checked does not hold, which does not keep the version from being staged.
    Warning,
    /// Nothing was checked.
    Skipped,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// It must be corrected.
    Error,
    /// It should be looked at, and stops nothing.
    Warning,
    /// It says what was looked at, or why nothing was.
    Info,
}

/// Describes one finding of a check, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFinding {
    /// How much it matters.
    pub severity: Severity,
    /// What was found, for the author.
    pub message: String,
    /// Path of the file in a content of several; empty for a single content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// JSON Pointer (RFC 6901) into the content, empty for the whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pointer: String,
    /// Line, from 1; 0 without a place.
    #[serde(default)]
    pub line: u32,
    /// Column in characters, from 1; 0 without a place.
    #[serde(default)]
    pub column: u32,
    /// What to do next; empty when there is nothing to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// One check of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable id: `limits`, `parse`, `json-schema`, `references`, `requires`, `label`, `guardrails`; for policies of these kinds `cedar`,
    /// `rego` or `template`.
    pub id: String,
    /// Its result.
    pub result: CheckResult,
    /// What it found, at most `CHECK_FINDINGS_MAX`.
    pub findings: Vec<CheckFinding>,
}

/// The active version of another policy, as a check found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookedUp {
    /// The other policy.
    pub policy: PolicyId,
    /// Its active version; 0: none.
    #[serde(default, skip_serializing_if = "is_none_active")]
    pub version: i64,
    /// Digest of that version; none: none was active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_none_active(version: &i64) -> bool {
    *version == 0
}

/// All checks of one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The digest that was checked.
    pub digest: Digest,
    /// Names the rules for content that it was checked against; empty: not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rules: String,
    /// Every check that ran, in order, each once.
    #[serde(with = "kept")]
    pub checks: Vec<Check>,
    /// The time at which the checks ran.
    pub time: Micros,
    /// The active versions of other policies that they depend on, in order of the policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub looked_up: Vec<LookedUp>,
}

impl CheckFinding {
    /// Returns a finding without a place.
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity, message, file: String::new(), pointer: String::new(), line: 0, column: 0, hint: String::new() }
    }

    /// Adds the file.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = file.into();
        self
    }

    /// Adds the place, as a JSON Pointer.
    #[must_use]
    pub fn at_pointer(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }

    /// Adds the place, as line and column from 1.
    #[must_use]
    pub fn at_place(mut self, line: u32, column: u32) -> Self {
        (self.line, self.column) = (line, column);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    fn size_bytes(&self) -> usize {
        FINDING_FIXED_BYTES + self.message.len() + self.file.len() + self.pointer.len() + self.hint.len()
    }
}

impl CheckResult {
    /// Returns the result of a check with these findings: that of the worst of them.
    #[must_use]
    pub fn of(findings: &[CheckFinding]) -> Self {
        let has = |severity| findings.iter().any(|finding| finding.severity == severity);
        if has(Severity::Error) {
            Self::Failed
        } else if has(Severity::Warning) {
            Self::Warning
        } else {
            Self::Passed
        }
    }

    /// Returns the severity of what a check with this result found.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::Failed => Severity::Error,
            Self::Warning => Severity::Warning,
            Self::Passed | Self::Skipped => Severity::Info,
        }
    }
}

impl Check {
    /// Returns a check with one finding, as severe as its result.
    pub fn new(id: &str, result: CheckResult, message: impl Into<String>) -> Self {
        Self::of(id, result, vec![CheckFinding::new(result.severity(), message)])
    }

    /// Returns a check with these findings, or with as many of them as it may have; the last of those then says that there are more.
    #[must_use]
    pub fn of(id: &str, result: CheckResult, mut findings: Vec<CheckFinding>) -> Self {
        if findings.len() > CHECK_FINDINGS_MAX {
            findings.truncate(CHECK_FINDINGS_MAX);
            say_there_are_more(&mut findings);
        }
        Self { id: id.to_owned(), result, findings }
    }

    /// Adds to the last finding what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        if let Some(last) = self.findings.last_mut() {
            hint.clone_into(&mut last.hint);
        }
        self
    }
}

fn say_there_are_more(findings: &mut [CheckFinding]) {
    let shown = findings.len();
    if let Some(last) = findings.last_mut() {
        last.hint = format!("there are more: the first {shown} are listed; correct these, then check again");
    }
}

impl Report {
    /// Returns a report within its bounds: the first finding of each check is always in it.
    #[must_use]
    pub fn new(digest: Digest, rules: String, mut checks: Vec<Check>, time: Micros) -> Self {
        let firsts = checks.iter().filter_map(|check| check.findings.first());
        let mut size_bytes: usize = firsts.map(CheckFinding::size_bytes).sum();
        for check in &mut checks {
            let further = check.findings.iter().skip(1);
            let fitting = further.take_while(|finding| {
                size_bytes += finding.size_bytes();
                size_bytes <= REPORT_MAX_BYTES
            });
            let kept = 1 + fitting.count();
            if kept < check.findings.len() {
                check.findings.truncate(kept);
                say_there_are_more(&mut check.findings);
            }
        }
        Self { digest, rules, checks, time, looked_up: Vec::new() }
    }

    /// Returns whether what it says of other policies holds for a version that is to be active: before that, what is missing there is only
    /// a warning.
    #[must_use]
    pub fn is_of_an_active_version(&self) -> bool {
        let is_about_others = |check: &&Check| [REFERENCES_CHECK, REQUIRES_CHECK].contains(&check.id.as_str());
        self.checks.iter().filter(is_about_others).all(|check| check.result != CheckResult::Warning)
    }

    /// Returns whether checks of these bytes by these rules would find the same again.
    #[must_use]
    pub fn is_of(&self, digest: &Digest, rules: &str) -> bool {
        self.digest == *digest && self.rules == rules
    }

    /// Returns whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.result != CheckResult::Failed)
    }

    /// Returns the same report with another outcome of one of its checks.
    #[must_use]
    pub fn with(mut self, check: Check) -> Self {
        match self.checks.iter_mut().find(|each| each.id == check.id) {
            Some(before) => *before = check,
            None => self.checks.push(check),
        }
        self
    }

    /// Returns whether no check but this one failed.
    #[must_use]
    pub fn passed_but_for(&self, id: &str) -> bool {
        self.checks.iter().all(|check| check.id == id || check.result != CheckResult::Failed)
    }

    /// Returns what made checks fail, each finding with the id of its check, in order.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &CheckFinding)> {
        let failed = self.checks.iter().filter(|check| check.result == CheckResult::Failed);
        failed.flat_map(|check| {
            let errors = check.findings.iter().filter(|finding| finding.severity == Severity::Error);
            errors.map(|finding| (check.id.as_str(), finding))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(count: usize, size_bytes: usize) -> Vec<CheckFinding> {
        vec![CheckFinding::new(Severity::Error, "x".repeat(size_bytes)); count]
    }

    #[test]
    fn a_check_has_so_many_findings_and_says_when_there_are_more() {
        let check = Check::of("c", CheckResult::Failed, errors(CHECK_FINDINGS_MAX, 1));
        assert!(check.findings.iter().all(|finding| finding.hint.is_empty()), "these are all");
        let check = Check::of("c", CheckResult::Failed, errors(CHECK_FINDINGS_MAX + 1, 1));
        assert_eq!(check.findings.len(), CHECK_FINDINGS_MAX);
        assert!(check.findings[CHECK_FINDINGS_MAX - 1].hint.starts_with("there are more: the first 20 are listed"));
    }

    #[test]
    fn a_report_stays_within_its_size_and_keeps_one_finding_of_each_check() {
        let check = |id: &str| Check::of(id, CheckResult::Failed, errors(CHECK_FINDINGS_MAX, REPORT_MAX_BYTES / 30));
        let checks = vec![check("a"), check("b"), check("c")];
        let report = Report::new(Digest::from_sha256(&[0; 32]), String::new(), checks, Micros(0));
        let counts: Vec<usize> = report.checks.iter().map(|check| check.findings.len()).collect();
        assert_eq!((counts[0], counts[2]), (CHECK_FINDINGS_MAX, 1), "{counts:?}");
        let sizes = report.checks.iter().flat_map(|check| &check.findings).map(CheckFinding::size_bytes);
        assert!(sizes.sum::<usize>() <= REPORT_MAX_BYTES);
        for check in &report.checks[1..] {
            assert!(check.findings.last().expect("a finding").hint.starts_with("there are more"), "{}", check.id);
        }
    }

    #[test]
    fn only_errors_of_failed_checks_are_failures() {
        let mixed = vec![CheckFinding::new(Severity::Info, "seen"), CheckFinding::new(Severity::Error, "wrong")];
        let checks = vec![
            Check::of("a", CheckResult::Failed, mixed),
            Check::new("b", CheckResult::Warning, "odd"),
            Check::new("c", CheckResult::Skipped, "none"),
        ];
        let report = Report::new(Digest::from_sha256(&[0; 32]), String::new(), checks, Micros(0));
        let failures: Vec<(&str, &str)> = report.failures().map(|(id, found)| (id, found.message.as_str())).collect();
        assert_eq!(
            (failures.as_slice(), report.passed(), report.passed_but_for("a")),
            (&[("a", "wrong")][..], false, true)
        );
    }
}
