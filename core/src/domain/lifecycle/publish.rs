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
    check_reports([(version, report)])
}

/// Refuses versions of one call when the checks of any failed. The error is about the first of these; the others are named in its message,
/// and their findings are violations too.
///
/// # Errors
/// `VALIDATION_FAILED`.
pub fn check_reports<'a>(checked: impl IntoIterator<Item = (&'a Version, &'a Report)>) -> Result<()> {
    let failed: Vec<_> = checked.into_iter().filter(|(_, report)| !report.passed()).collect();
    let Some(((version, report), others)) = failed.split_first() else { return Ok(()) };
    let error = refusal(version, report);
    let also: Vec<String> = others.iter().map(|(version, _)| version.short_name()).collect();
    let message = match also.as_slice() {
        [] => error.message,
        also => format!("{}; checks fail of these too: {}", error.message, also.join(", ")),
    };
    Err(Error { message, violations: violations(&failed), ..error })
}

fn refusal(version: &Version, report: &Report) -> Error {
    let name = version.name();
    let refused = |message: String| {
        Error::new(Reason::ValidationFailed, message).with("state", version.state.as_str()).about(&name)
    };
    let Some((check, failure)) = report.failures().next() else {
        // Otherwise a failed check without a finding would be published.
        return refused(format!("{name} fails a check that does not say why"));
    };
    let at = text_place(failure).map(|place| format!(" at {place}")).unwrap_or_default();
    let error = refused(format!("{name} fails its check \"{check}\"{at}: {}", failure.message)).with("check", check);
    let number = |number: u32| if number > 0 { number.to_string() } else { String::new() };
    let place = [
        ("file", failure.file.clone()),
        ("line", number(failure.line)),
        ("column", number(failure.column)),
        ("pointer", failure.pointer.clone()),
    ];
    place.into_iter().filter(|(_, value)| !value.is_empty()).fold(error, |error, (key, value)| error.with(key, value))
}

/// Room for all violations of one error. They travel as trailing metadata, which clients cut off at 8 or 16 KiB: past
/// that the caller would see a broken stream instead of the error.
const VIOLATIONS_MAX_BYTES: usize = 4 * 1024;

fn violations(failed: &[(&Version, &Report)]) -> Vec<FieldViolation> {
    let of_version = |(version, report): &(&'_ Version, &'_ Report)| {
        // The wire names the resource of the error alone, which is the first.
        let whose = if failed.len() > 1 { format!("{}: ", version.short_name()) } else { String::new() };
        let violation = |(check, failure)| violation(&whose, check, failure);
        report.failures().map(violation).collect::<Vec<_>>()
    };
    let all: Vec<FieldViolation> = failed.iter().flat_map(of_version).collect();
    let name_bytes = failed.first().map_or(0, |(version, _)| version.name().len());
    let (count, mut size_bytes, mut kept) = (all.len(), 0, Vec::new());
    for violation in all {
        // Each names the version too, once it is on the wire.
        size_bytes += name_bytes + violation.field.len() + violation.description.len();
        if size_bytes > VIOLATIONS_MAX_BYTES && !kept.is_empty() {
            let description = format!("findings left out: {}; read the validation report", count - kept.len());
            kept.push(FieldViolation { field: "report".to_owned(), description });
            break;
        }
        kept.push(violation);
    }
    kept
}

fn violation(whose: &str, check: &str, failure: &CheckFinding) -> FieldViolation {
    let place = match (text_place(failure), failure.pointer.as_str()) {
        (None, "") => String::new(),
        (Some(place), "") => format!(" at {place}"),
        (None, pointer) => format!(" at {pointer}"),
        (Some(place), pointer) => format!(" at {pointer}, {place}"),
    };
    FieldViolation { field: check.to_owned(), description: format!("{whose}{}{place}", failure.message) }
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
        assert_eq!(
            metadata,
            [("check", "parse"), ("column", "7"), ("line", "3"), ("pointer", "/a/b"), ("state", "DRAFT")]
        );
    }

    #[test]
    fn every_version_that_fails_is_named() {
        let versions = [0, 1, 2].map(|id| new_version(policy_name(id), 1, None, digest(0)));
        let report = |checks| Report::new(digest(0), String::new(), checks, Micros(0));
        let failing = report(vec![failed("json-schema", [found("not a number").at_pointer("/n")])]);
        let passing = report(vec![Check::new("parse", CheckResult::Passed, "JSON")]);
        let checked = [(&versions[0], &failing), (&versions[1], &passing), (&versions[2], &failing)];
        let error = check_reports(checked).unwrap_err();
        assert_eq!(error.resource.as_deref(), Some(NAME));
        assert!(error.message.ends_with(": not a number; checks fail of these too: p2@1"), "{}", error.message);
        let described: Vec<&str> = error.violations.iter().map(|each| each.description.as_str()).collect();
        assert_eq!(described, ["p0@1: not a number at /n", "p2@1: not a number at /n"]);
        assert!(check_reports([(&versions[1], &passing)]).is_ok());
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
