//! Stage and Publish (DESIGN rules 4–6).

use super::super::error::{Error, Reason, Result};
use super::super::policy::Policy;
use super::super::report::Report;
use super::super::version::{Version, VersionState};
use super::{check_etag, check_open};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageDecision {
    /// It is staged already, with these very bytes.
    AlreadyStaged,
    /// Lock it.
    Lock,
}

/// Decides whether a version is staged.
///
/// # Errors
/// `ETAG_MISMATCH`, `VERSION_NOT_OPEN`, `VALIDATION_FAILED` with the first failed check.
pub fn stage(version: &Version, etag: Option<i64>, report: &Report) -> Result<StageDecision> {
    check_etag(etag, version.etag, &version.name())?;
    check_open(version)?;
    check_report(version, report)?;
    Ok(if version.state == VersionState::Staged { StageDecision::AlreadyStaged } else { StageDecision::Lock })
}

/// Decides whether a version is published. `report` is that of today's checks.
///
/// # Errors
/// As `stage`, and `APPROVALS_MISSING`.
pub fn publish(policy: &Policy, version: &Version, etag: Option<i64>, report: &Report) -> Result<()> {
    check_etag(etag, version.etag, &version.name())?;
    check_open(version)?;
    check_report(version, report)?;
    if policy.settings.required_approvals > 0 {
        return Err(Error::new(
            Reason::ApprovalsMissing,
            format!("{} needs {} approvals of this digest", version.name(), policy.settings.required_approvals),
        )
        .with("required", policy.settings.required_approvals)
        .with("given", 0)
        .about(version.name()));
    }
    Ok(())
}

/// A version whose checks failed goes nowhere.
pub(super) fn check_report(version: &Version, report: &Report) -> Result<()> {
    let Some(failure) = report.first_failure() else { return Ok(()) };
    let place =
        if failure.line > 0 { format!(" at line {}, column {}", failure.line, failure.column) } else { String::new() };
    let error = Error::new(
        Reason::ValidationFailed,
        format!("{} fails its check \"{}\": {}{place}", version.name(), failure.id, failure.message),
    )
    .with("check", &failure.id)
    .with("line", failure.line)
    .with("column", failure.column)
    .with("pointer", &failure.pointer);
    Err(error.about(version.name()))
}
