//! What calls answer, in the words of the domain.
//!
//! Boundary: reads messages of a server that may be newer than this SDK. Invariant: a value that this SDK does not know is none,
//! and fails no call.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost_types::Timestamp;

use super::error::ClientError;
use policyhub_core::api::pb;
use policyhub_core::domain::event::{Cursor, Fingerprint, Position};
use policyhub_core::domain::name::{PolicyId, PolicyName};
use policyhub_core::domain::policy::PolicyKind;
use policyhub_core::domain::version::VersionState;

/// A policy, as the server answers it. Nothing of it is signed: what is in force, a [`crate::Watcher`] proves.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyInfo {
    /// Its id.
    pub policy: PolicyId,
    /// Its language; none: one that this SDK does not know.
    pub kind: Option<PolicyKind>,
    /// Holds what it is for.
    pub description: String,
    /// The number of the version in force.
    pub active_version: Option<i64>,
    /// The highest number of a version.
    pub latest_version: Option<i64>,
    /// Holds what a later change may say that it has seen.
    pub etag: String,
}

/// A version, as the server answers it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// Its policy.
    pub policy: PolicyId,
    /// Its number, from 1.
    pub number: i64,
    /// Says where it stands; none: in a state that this SDK does not know.
    pub state: Option<VersionState>,
    /// Its label, a SemVer, or empty.
    pub label: String,
    /// Digest of its content, `sha256:…`.
    pub digest: String,
    /// Bytes of its content.
    pub size_bytes: i64,
    /// Media type of its content.
    pub content_type: String,
    /// Its content, where it was read by [`crate::NamespaceClient::version`]; empty elsewhere.
    pub content: Bytes,
    /// Says why it was written.
    pub change_note: String,
    /// Says who wrote it.
    pub author: String,
    /// Says who published it, or empty.
    pub publisher: String,
    /// Holds the annotations that its author gave.
    pub annotations: BTreeMap<String, String>,
    /// Says whether it is in force.
    pub is_active: bool,
    /// Holds what a later change may say that it has seen.
    pub etag: String,
    /// Says when it was written.
    pub created: Option<SystemTime>,
    /// Says when it was published.
    pub published: Option<SystemTime>,
}

/// Holds what a check of a version found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FindingInfo {
    /// The check.
    pub check: String,
    /// Says whether it keeps the version from being staged.
    pub is_error: bool,
    /// Is text for people.
    pub message: String,
    /// Locates the finding in the content, as a JSON pointer (RFC 6901), or empty.
    pub pointer: String,
    /// The line, from 1, where it is known.
    pub line: Option<i32>,
    /// The column, from 1, where it is known.
    pub column: Option<i32>,
    /// Suggests how to fix it, or empty.
    pub hint: String,
}

/// A version, and where the change of it stands in the log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VersionResult {
    /// The version, after the change.
    pub version: VersionInfo,
    /// Says where the change stands; none when it was only validated.
    pub position: Option<Position>,
    /// Holds what the checks found, if they ran.
    pub findings: Vec<FindingInfo>,
    /// Holds what came into force with it, if anything did.
    pub moved: Vec<MovedPolicy>,
}

/// Holds what a change put in force.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActivationResult {
    /// Says which policies it moved.
    pub moved: Vec<MovedPolicy>,
    /// Says where the change stands: what to wait for with [`crate::NamespaceClient::convergence`]; none when it was only validated.
    pub position: Option<Position>,
    /// Counts the streams of this replica that receive it.
    pub watching_streams: i32,
    /// Holds what the caller should know, such as a version that the checks of today would refuse.
    pub warnings: Vec<String>,
}

/// A policy whose active version changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedPolicy {
    /// The policy.
    pub policy: PolicyId,
    /// The version in force now.
    pub version: Option<i64>,
    /// The version before.
    pub previous_version: Option<i64>,
}

/// Says how far an activation has come, as runtimes reported it. Of those that are online and watch a policy that it moved, each is
/// counted once as applied, rejected or pending.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConvergenceInfo {
    /// Runtimes that run with it, or with something newer.
    pub applied: i32,
    /// Runtimes that keep what they had.
    pub rejected: i32,
    /// Runtimes that are online and have not said.
    pub pending: i32,
    /// Runtimes that are known, and not online.
    pub offline: i32,
    /// Counts those of the applied that run with another active set than the one they report.
    pub diverged: i32,
    /// Counts those of the offline that were online within the last 10 minutes and did not report that they run with it.
    pub gone: i32,
    /// Says whether nobody is pending.
    pub is_settled: bool,
    /// Says who could not use it, by subscriber id, and why: the first 20.
    pub rejections: BTreeMap<String, String>,
}

/// Returns where something stands in the log.
pub(crate) fn position(from: Option<pb::Cursor>) -> Option<Position> {
    let pb::Cursor { epoch, revision, fingerprint } = from?;
    let cursor = Cursor { epoch, revision };
    (cursor != Cursor::default()).then(|| Position { cursor, event: Fingerprint::from_number(fingerprint) })
}

/// Returns a number of a version; 0 on the wire is none.
fn some(number: i64) -> Option<i64> {
    Some(number).filter(|number| *number > 0)
}

fn time(from: Option<Timestamp>) -> Option<SystemTime> {
    let Timestamp { seconds, nanos } = from?;
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    UNIX_EPOCH.checked_add(since)
}

fn kind(from: pb::PolicyKind) -> Option<PolicyKind> {
    Some(match from {
        pb::PolicyKind::Unspecified => return None,
        pb::PolicyKind::Json => PolicyKind::Json,
        pb::PolicyKind::Yaml => PolicyKind::Yaml,
        pb::PolicyKind::Cedar => PolicyKind::Cedar,
        pb::PolicyKind::Rego => PolicyKind::Rego,
        pb::PolicyKind::Opaque => PolicyKind::Opaque,
        pb::PolicyKind::Template => PolicyKind::Template,
    })
}

fn state(from: pb::VersionState) -> Option<VersionState> {
    Some(match from {
        pb::VersionState::Unspecified => return None,
        pb::VersionState::Draft => VersionState::Draft,
        pb::VersionState::Staged => VersionState::Staged,
        pb::VersionState::Published => VersionState::Published,
        pb::VersionState::Superseded => VersionState::Superseded,
        pb::VersionState::Abandoned => VersionState::Abandoned,
        pb::VersionState::Rejected => VersionState::Rejected,
    })
}

impl PolicyInfo {
    pub(crate) fn read(from: Option<pb::Policy>) -> Result<Self, ClientError> {
        let from = from.ok_or_else(|| ClientError::missing("policy"))?;
        let name = PolicyName::parse("name", &from.name).map_err(|error| ClientError::unreadable(&error))?;
        Ok(Self {
            policy: name.policy,
            kind: kind(from.kind()),
            description: from.description,
            active_version: some(from.active_version),
            latest_version: some(from.latest_version),
            etag: from.etag,
        })
    }
}

impl VersionInfo {
    pub(crate) fn read(from: Option<pb::Version>) -> Result<Self, ClientError> {
        let from = from.ok_or_else(|| ClientError::missing("version"))?;
        let policy = from.name.rsplit_once("/versions/").map_or(from.name.as_str(), |(policy, _)| policy);
        let name = PolicyName::parse("name", policy).map_err(|error| ClientError::unreadable(&error))?;
        Ok(Self {
            policy: name.policy,
            number: from.version,
            state: state(from.state()),
            label: from.label,
            digest: from.digest,
            size_bytes: from.size_bytes,
            content_type: from.content_type,
            content: from.content,
            change_note: from.change_note,
            author: from.author,
            publisher: from.publisher,
            annotations: from.annotations.into_iter().collect(),
            is_active: from.active,
            etag: from.etag,
            created: time(from.create_time),
            published: time(from.publish_time),
        })
    }
}

impl VersionResult {
    pub(crate) fn read(version: Option<pb::Version>, cursor: Option<pb::Cursor>) -> Result<Self, ClientError> {
        let version = VersionInfo::read(version)?;
        Ok(Self { version, position: position(cursor), findings: Vec::new(), moved: Vec::new() })
    }
}

/// Returns what the checks of a report found.
pub(crate) fn findings(report: Option<pb::ValidationReport>) -> Vec<FindingInfo> {
    let checks = report.map(|report| report.checks).unwrap_or_default();
    let of_check = |check: pb::Check| {
        let id = check.id;
        check.findings.into_iter().map(move |finding| FindingInfo {
            check: id.clone(),
            is_error: finding.severity() == pb::finding::Severity::Error,
            message: finding.message,
            pointer: finding.pointer,
            line: Some(finding.line).filter(|line| *line > 0),
            column: Some(finding.column).filter(|column| *column > 0),
            hint: finding.hint,
        })
    };
    checks.into_iter().flat_map(of_check).collect()
}

/// Returns what a summary says was moved.
pub(crate) fn moved(summary: Option<&pb::ActivationSummary>) -> Result<Vec<MovedPolicy>, ClientError> {
    let changes = summary.map(|summary| summary.changes.as_slice()).unwrap_or_default();
    let read = |change: &pb::PointerChange| {
        let name = PolicyName::parse("policy", &change.policy).map_err(|error| ClientError::unreadable(&error))?;
        Ok(MovedPolicy {
            policy: name.policy,
            version: some(change.version),
            previous_version: some(change.previous_version),
        })
    };
    changes.iter().map(read).collect()
}

impl ActivationResult {
    pub(crate) fn read(
        summary: Option<pb::ActivationSummary>,
        cursor: Option<pb::Cursor>,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            moved: moved(summary.as_ref())?,
            position: position(cursor),
            watching_streams: summary.map_or(0, |summary| summary.watching_streams),
            warnings: Vec::new(),
        })
    }
}

impl ConvergenceInfo {
    pub(crate) fn read(from: pb::GetConvergenceResponse) -> Self {
        let rejections = from.rejected_subscribers.into_iter().map(|subscriber| {
            let id = subscriber.name.rsplit_once('/').map_or(subscriber.name.as_str(), |(_, id)| id);
            (id.to_owned(), subscriber.reason)
        });
        Self {
            applied: from.applied,
            rejected: from.rejected,
            pending: from.pending,
            offline: from.offline,
            diverged: from.diverged,
            gone: from.gone,
            is_settled: from.settled,
            rejections: rejections.collect(),
        }
    }
}
