//! Versions and their reports.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::api::pb;
use crate::api::pb::publish_versions_result::Outcome;
use crate::api::status::kept_refusal;
use crate::api::time::timestamp;
use crate::domain::adopted::Adopted;
use crate::domain::approval::Approval;
use crate::domain::outcome::{PublishOutcome, PublishVersionsResult, PublishedVersions};
use crate::domain::report::{Check, CheckFinding, CheckResult, Report, Severity};
use crate::domain::template::TemplateSource;
use crate::domain::version::{Version, VersionDifference, VersionState, VersionWithContent};

/// Returns who wrote a version before it came here.
fn template(from: TemplateSource) -> pb::TemplateSource {
    pb::TemplateSource {
        policy: from.policy().to_string(),
        version: from.version(),
        digest: from.digest().to_string(),
        parameters: from.parameters().to_owned(),
    }
}

pub(super) fn adopted(from: Adopted) -> pb::Adopted {
    let create_time = from.create_time().map(timestamp);
    pb::Adopted { author: from.author().to_owned(), create_time }
}

/// Returns where a version stands.
pub(super) fn state(from: VersionState) -> pb::VersionState {
    match from {
        VersionState::Draft => pb::VersionState::Draft,
        VersionState::Staged => pb::VersionState::Staged,
        VersionState::Published => pb::VersionState::Published,
        VersionState::Superseded => pb::VersionState::Superseded,
        VersionState::Abandoned => pb::VersionState::Abandoned,
        VersionState::Rejected => pb::VersionState::Rejected,
    }
}

/// Returns a version with the approvals that count now, and with its content when there is some.
#[must_use]
pub fn version_with_content(from: VersionWithContent) -> pb::Version {
    pb::Version {
        content: from.content.unwrap_or_default(),
        approvals: approvals(from.approvals),
        ..version(from.version, from.active)
    }
}

/// Returns a version without its content and its approvals.
#[must_use]
pub fn version(from: Version, active: bool) -> pb::Version {
    let etag = from.etag().to_string();
    let requires = from.requires.into_iter().map(|requirement| pb::Requirement {
        policy: requirement.policy.to_string(),
        version_req: requirement.version_req.to_string(),
    });
    pb::Version {
        approvals: Vec::new(),
        name: from.policy.version(from.number),
        version: from.number,
        state: state(from.state).into(),
        label: from.label.map(|label| label.to_string()).unwrap_or_default(),
        digest: from.digest.to_string(),
        size_bytes: from.size_bytes,
        content_type: from.content_type,
        content: Bytes::new(),
        change_note: from.change_note,
        requires: requires.collect(),
        base_version: from.base_version,
        source_version: from.source_version,
        author: from.author,
        publisher: from.publisher,
        manifest: from.manifest,
        etag,
        active,
        create_time: Some(timestamp(from.create_time)),
        stage_time: from.stage_time.map(timestamp),
        publish_time: from.publish_time.map(timestamp),
        origin_manifests: from.origin_manifests,
        annotations: BTreeMap::from(from.annotations).into_iter().collect(),
        adopted: from.adopted.map(adopted),
        template: from.template.map(template),
    }
}

impl From<VersionWithContent> for pb::GetVersionResponse {
    fn from(found: VersionWithContent) -> Self {
        Self { version: Some(version_with_content(found)) }
    }
}

impl From<VersionDifference> for pb::DiffVersionsResponse {
    fn from(found: VersionDifference) -> Self {
        Self {
            unified: found.unified,
            json_patch: found.json_patch,
            base: Some(version_with_content(found.from)),
            other: Some(version_with_content(found.to)),
            too_large: found.too_large,
        }
    }
}

/// Returns what became of several versions that were to be published.
#[must_use]
pub fn published_versions(from: PublishedVersions) -> pb::PublishVersionsResponse {
    let result = |from: PublishVersionsResult| {
        let outcome = match from.outcome {
            PublishOutcome::Published { version: published, cursor } => Outcome::Published(pb::PublishedVersion {
                version: Some(version(*published, false)),
                cursor: cursor.map(Into::into),
            }),
            PublishOutcome::Refused(refused) => Outcome::Refusal(kept_refusal(refused)),
        };
        pb::PublishVersionsResult { name: from.name, outcome: Some(outcome) }
    };
    pb::PublishVersionsResponse { results: from.results.into_iter().map(result).collect() }
}

/// Writes approvals.
pub(super) fn approvals(from: Vec<Approval>) -> Vec<pb::Approval> {
    let approval = |from: Approval| pb::Approval {
        approver: from.approver,
        digest: from.digest.into(),
        reason: from.reason,
        create_time: Some(timestamp(from.create_time)),
        expire_time: Some(timestamp(from.expire_time)),
    };
    from.into_iter().map(approval).collect()
}

/// Returns the answer of GetValidationReport about a version.
#[must_use]
pub fn found_report(of: &Version, found: Report) -> pb::GetValidationReportResponse {
    pb::GetValidationReportResponse { report: Some(report(of.name(), found)) }
}

/// Returns a report of the version called `name`.
pub(super) fn report(name: String, from: Report) -> pb::ValidationReport {
    pb::ValidationReport {
        version_name: name,
        digest: from.digest.to_string(),
        passed: from.passed(),
        create_time: Some(timestamp(from.time)),
        checks: from.checks.into_iter().map(check).collect(),
    }
}

fn check(from: Check) -> pb::Check {
    let result = match from.result {
        CheckResult::Passed => pb::check::Result::Passed,
        CheckResult::Failed => pb::check::Result::Failed,
        CheckResult::Warning => pb::check::Result::Warning,
        CheckResult::Skipped => pb::check::Result::Skipped,
    };
    let findings = from.findings.into_iter().map(finding).collect();
    pb::Check { id: from.id, result: result.into(), findings }
}

fn finding(from: CheckFinding) -> pb::Finding {
    let severity = match from.severity {
        Severity::Error => pb::finding::Severity::Error,
        Severity::Warning => pb::finding::Severity::Warning,
        Severity::Info => pb::finding::Severity::Info,
    };
    let place = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    pb::Finding {
        severity: severity.into(),
        message: from.message,
        file: from.file,
        pointer: from.pointer,
        line: place(from.line),
        column: place(from.column),
        hint: from.hint,
    }
}
