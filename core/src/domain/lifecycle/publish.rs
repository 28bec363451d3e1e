//! Stage and Publish (docs/lifecycle.md#rule-4 to #rule-6).

use super::super::approval::Approval;
use super::super::error::{Error, FieldViolation, Reason, Result};
use super::super::etag::Etag;
use super::super::policy::Policy;
use super::super::report::{CheckFinding, Report};
use super::super::time::Micros;
use super::super::version::{Version, VersionState};
use super::approve::{check_approvals, counting};
use super::preconditions::{check_etag, check_open};

/// Says what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageDecision {
    /// It is staged already, with these very bytes.
    AlreadyStaged,
    /// Lock it.
    Lock,
}

/// Holds what a publication is decided on.
#[derive(Debug, Clone, Copy)]
pub struct PublishFacts<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The version.
    pub version: &'a Version,
    /// Every approval it was given, whether it still counts or not; proven.
    pub approvals: &'a [Approval],
    /// Decides which of them have expired.
    pub now: Micros,
}

/// Says on which approvals a publication is based, and whether they were too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishBasis {
    /// The approvals that counted.
    pub approvals: Vec<Approval>,
    /// Says whether they were too few.
    pub broke_glass: bool,
}

/// Checks whether a version may be staged or published at all, whatever its checks find.
///
/// # Errors
/// `ETAG_MISMATCH`, `VERSION_NOT_OPEN`.
pub fn check_stageable(version: &Version, etag: Option<&Etag>) -> Result<()> {
    check_etag(etag, &version.etag(), &version.name())?;
    check_open(version)
}

/// Decides whether a version is staged.
///
/// # Errors
/// `ETAG_MISMATCH`, `VERSION_NOT_OPEN`, `VALIDATION_FAILED` with a violation for each failed check.
pub fn stage(version: &Version, etag: Option<&Etag>, report: &Report) -> Result<StageDecision> {
    check_stageable(version, etag)?;
    check_report(version, report)?;
    Ok(if version.state == VersionState::Staged { StageDecision::AlreadyStaged } else { StageDecision::Lock })
}

/// Decides whether a version is published. `report` is that of today's checks. `break_glass` stands in for missing
/// approvals, and for nothing else.
///
/// # Errors
/// Those of `stage`, and `APPROVALS_MISSING`.
pub fn publish(
    facts: PublishFacts<'_>,
    etag: Option<&Etag>,
    report: &Report,
    break_glass: bool,
) -> Result<PublishBasis> {
    let PublishFacts { policy, version, approvals, now } = facts;
    check_stageable(version, etag)?;
    check_report(version, report)?;
    let approvals = counting(policy, version, approvals, now);
    match check_approvals(policy, version, approvals.len()) {
        Err(missing) if !break_glass => Err(missing),
        enough => Ok(PublishBasis { approvals, broke_glass: enough.is_err() }),
    }
}

/// Refuses a version whose checks failed. The message and metadata are those of the first finding that made one fail, the
/// violations those of all of them, up to `VIOLATIONS_MAX_BYTES`; the report has every one.
///
/// # Errors
/// `VALIDATION_FAILED`.
pub fn check_report(version: &Version, report: &Report) -> Result<()> {
    if report.passed() {
        return Ok(());
    }
    let name = version.name();
    let Some((check, failure)) = report.failures().next() else {
        // Otherwise a failed check without a finding would be published.
        return Err(
            Error::new(Reason::ValidationFailed, format!("{name} fails a check that does not say why")).about(name)
        );
    };
    let place = text_place(failure).map(|place| format!(" at {place}")).unwrap_or_default();
    let message = format!("{name} fails its check \"{check}\"{place}: {}", failure.message);
    let error = Error::new(Reason::ValidationFailed, message)
        .with("check", check)
        .with("file", &failure.file)
        .with("line", failure.line)
        .with("column", failure.column)
        .with("pointer", &failure.pointer);
    Err(Error { violations: violations(&name, report), ..error }.about(name))
}

/// Room for all violations of one error. They travel as trailing metadata, which clients cut off at 8 or 16 KiB: past
/// that the caller would see a broken stream instead of the error.
const VIOLATIONS_MAX_BYTES: usize = 4 * 1024;

fn violations(name: &str, report: &Report) -> Vec<FieldViolation> {
    let failures: Vec<(&str, &CheckFinding)> = report.failures().collect();
    let mut kept = Vec::new();
    let mut size_bytes = 0;
    for (check, failure) in &failures {
        let violation = violation(check, failure);
        // Each names the version too, once it is on the wire.
        size_bytes += name.len() + violation.field.len() + violation.description.len();
        if size_bytes > VIOLATIONS_MAX_BYTES && !kept.is_empty() {
            let description = format!("findings left out: {}; read the validation report", failures.len() - kept.len());
            kept.push(FieldViolation { field: "report".to_owned(), description });
            break;
        }
        kept.push(violation);
    }
    kept
}

fn violation(check: &str, failure: &CheckFinding) -> FieldViolation {
    let place = match (text_place(failure), failure.pointer.as_str()) {
        (None, "") => String::new(),
        (Some(place), "") => format!(" at {place}"),
        (None, pointer) => format!(" at {pointer}"),
        (Some(place), pointer) => format!(" at {pointer}, {place}"),
    };
    FieldViolation { field: check.to_owned(), description: format!("{}{place}", failure.message) }
}

/// Returns file, line and column, as far as there are some.
fn text_place(failure: &CheckFinding) -> Option<String> {
    let place = (failure.line > 0).then(|| format!("line {}, column {}", failure.line, failure.column));
    match (failure.file.as_str(), place) {
        ("", place) => place,
        (file, None) => Some(file.to_owned()),
        (file, Some(place)) => Some(format!("{file}, {place}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::model::{digest, new_version, policy_name};
    use super::*;
    use crate::domain::report::{Check, CheckResult, Severity};

    const NAME: &str = "namespaces/n/policies/p0/versions/1";

    fn found(message: &str) -> CheckFinding {
        CheckFinding::new(Severity::Error, message)
    }

    fn failed(id: &str, findings: impl IntoIterator<Item = CheckFinding>) -> Check {
        Check::of(id, CheckResult::Failed, findings.into_iter().collect())
    }

    fn refusal(checks: Vec<Check>) -> Error {
        let version = new_version(policy_name(0), 1, None, digest(0));
        let report = Report::new(version.digest.clone(), String::new(), checks, Micros(0));
        check_report(&version, &report).unwrap_err()
    }

    #[test]
    fn every_finding_of_a_failed_check_is_a_violation() {
        let error = refusal(vec![
            Check::new("limits", CheckResult::Passed, "2 of at most 9 bytes"),
            failed("parse", [found("key twice").at_pointer("/a/b").at_place(3, 7)]),
            failed("json-schema", [found("not a number").at_pointer("/n"), found("not JSON").at_place(1, 2)]),
            Check::new("guardrail", CheckResult::Warning, "unusual"),
            failed("label", [found("not higher")]),
            Check::new("requires", CheckResult::Skipped, "none"),
        ]);
        let received: Vec<(&str, &str)> =
            error.violations.iter().map(|each| (each.field.as_str(), each.description.as_str())).collect();
        assert_eq!(
            received,
            [
                ("parse", "key twice at /a/b, line 3, column 7"),
                ("json-schema", "not a number at /n"),
                ("json-schema", "not JSON at line 1, column 2"),
                ("label", "not higher"),
            ]
        );
        assert_eq!(error.reason, Reason::ValidationFailed);
        assert_eq!(error.message, format!("{NAME} fails its check \"parse\" at line 3, column 7: key twice"));
        assert_eq!(error.resource.as_deref(), Some(NAME));
        let metadata: Vec<(&str, &str)> = error.metadata.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(metadata, [("check", "parse"), ("column", "7"), ("file", ""), ("line", "3"), ("pointer", "/a/b")]);
    }

    #[test]
    fn violations_stay_small_enough_for_trailers() {
        let error = refusal(vec![failed("json-schema", vec![found(&"x".repeat(400)); 20])]);
        let size = |each: &FieldViolation| NAME.len() + each.field.len() + each.description.len();
        let (last, kept) = error.violations.split_last().unwrap();
        assert!(kept.iter().map(size).sum::<usize>() <= VIOLATIONS_MAX_BYTES, "{} kept", kept.len());
        assert!(kept.len() > 5, "{} kept", kept.len());
        assert_eq!(last.field, "report");
        let left_out = 20 - kept.len();
        assert_eq!(last.description, format!("findings left out: {left_out}; read the validation report"));

        let alone = refusal(vec![failed("parse", [found(&"x".repeat(VIOLATIONS_MAX_BYTES))])]);
        let fields: Vec<&str> = alone.violations.iter().map(|each| each.field.as_str()).collect();
        assert_eq!(fields, ["parse"], "the first failure is always told");
    }
}
