//! What the mutations answer. Kept as JSON beside the request id, so that a repeated request gets the same answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::approval::Approval;
use super::binding::RoleBinding;
use super::digest::Hash;
use super::error::{Error, Reason};
use super::etag::Etag;
use super::event::{Cursor, PointerChange, Position};
use super::guardrail::{GuardrailSet, GuardrailSeverity};
use super::key::KeyRecord;
use super::name::NamespaceId;
use super::pointed_policy::PointedPolicy;
use super::quota::Quotas;
use super::report::Report;
use super::schedule::Schedule;
use super::time::Micros;
use super::version::Version;

/// The tenant boundary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its id.
    pub id: NamespaceId,
    /// Is text for people.
    pub description: String,
    /// What it may use, as far as that was said for it.
    #[serde(default)]
    pub quotas: Quotas,
    /// The head of its log.
    pub cursor: Cursor,
    /// Hash of the event there.
    pub head_hash: Hash,
    /// How often it was written: raised by every change of description or quotas.
    #[serde(rename = "etag")]
    pub edits: i64,
    /// When it was made.
    pub create_time: Micros,
}

impl Namespace {
    /// Returns its etag: which namespace it is, and which of its descriptions and quotas. What is written in it leaves it as it is.
    #[must_use]
    pub fn etag(&self) -> Etag {
        let Quotas { max_policies, max_versions, max_content_bytes, max_streams, writes_per_second, reads_per_second } =
            self.quotas;
        let stored = [max_policies, max_versions, max_content_bytes].map(i64::to_be_bytes);
        let rates = [max_streams, writes_per_second, reads_per_second].map(u32::to_be_bytes);
        Etag::derive(
            "namespace",
            &[
                self.id.name().as_bytes(),
                &self.create_time.0.to_be_bytes(),
                self.description.as_bytes(),
                stored.as_flattened(),
                rates.as_flattened(),
                &self.edits.to_be_bytes(),
            ],
        )
    }
}

#[expect(missing_docs, reason = "the fields are those of the proto's responses; no cursor: nothing was written")]
mod outcomes {
    use super::*;

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct NamespaceChanged {
        pub namespace: Namespace,
        pub cursor: Option<Position>,
    }

    /// Written so that an earlier build, which kept the position only, reads it, and the reverse.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct NamespaceThawed {
        #[serde(flatten)]
        pub cursor: Option<Position>,
        /// Names of the schedules that are gone, the first of them. A key of a row that is no valid id stands as it is.
        #[serde(default)]
        pub removed_schedules: Vec<String>,
        #[serde(default)]
        pub removed_schedules_not_listed: usize,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct GuardrailsChanged {
        pub guardrails: GuardrailSet,
        #[serde(flatten)]
        pub trial: RuleTrial,
        pub cursor: Option<Position>,
    }

    /// What new rules would do to versions that are published already. The defaults are for answers that an earlier build kept.
    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    pub struct RuleTrial {
        pub violations: Vec<RuleViolation>,
        #[serde(default)]
        pub violations_not_listed: usize,
        pub versions_tried: usize,
        pub versions_not_tried: usize,
    }

    /// A published version that breaks a guardrail, or another rule.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct RuleViolation {
        pub version: String,
        #[serde(default)]
        pub label: String,
        #[serde(default)]
        pub is_active: bool,
        #[serde(default)]
        pub check: String,
        pub guardrail: String,
        pub severity: GuardrailSeverity,
        pub message: String,
        pub pointer: String,
    }

    /// The guardrails of a namespace, and those of the store that hold there too.
    #[derive(Debug, Clone)]
    pub struct FoundGuardrails {
        pub own: GuardrailSet,
        pub of_store: Option<GuardrailSet>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct BindingChanged {
        pub binding: RoleBinding,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct PolicyChanged {
        pub policy: PointedPolicy,
        #[serde(default)]
        pub trial: RuleTrial,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct VersionChanged {
        pub version: Version,
        pub active: bool,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Staged {
        pub version: Version,
        pub report: Report,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Approved {
        pub version: Version,
        /// The approvals that count now.
        pub approvals: Vec<Approval>,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Activated {
        /// Is the position of its event; none with `validate_only`.
        pub cursor: Option<Position>,
        pub changes: Vec<PointerChange>,
        /// Empty with `validate_only`.
        pub statement: String,
        /// Streams of this replica that would hear of it; only with `validate_only`.
        pub watching_streams: u32,
        pub namespace: NamespaceId,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Published {
        pub version: Version,
        pub cursor: Option<Position>,
        pub activation: Option<Activated>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct PublishedVersions {
        /// One result for each version that was asked for, in that order.
        pub results: Vec<PublishVersionsResult>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct PublishVersionsResult {
        /// Is the name as it was asked for.
        pub name: String,
        pub outcome: PublishOutcome,
    }

    /// What became of one of several versions.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub enum PublishOutcome {
        Published { version: Box<Version>, cursor: Option<Position> },
        Refused(VersionRefusal),
    }

    /// An error as it is kept.
    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct VersionRefusal {
        pub reason: Reason,
        pub message: String,
        pub metadata: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub retry_after: Option<Duration>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct RolledBack {
        pub version: Version,
        pub activation: Activated,
        pub cursor: Option<Position>,
        pub report: Option<Report>,
        #[serde(default)]
        pub warnings: Vec<String>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct Deactivated {
        pub policy: PointedPolicy,
        pub activation: Activated,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct ScheduleChanged {
        pub schedule: Schedule,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct KeyChanged {
        pub key: KeyRecord,
        pub cursor: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub struct KeyRevoked {
        pub key: KeyRecord,
        pub cursor: Option<Position>,
        /// Names of the versions it signed, the first of them.
        pub versions: Vec<String>,
        pub version_count: i64,
        /// Counts those of them that are not signed again.
        pub remaining_count: i64,
    }
}
pub use outcomes::*;

impl From<Error> for VersionRefusal {
    fn from(error: Error) -> Self {
        let metadata = error.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Self { reason: error.reason, message: error.message, metadata, retry_after: error.retry_after }
    }
}
