//! What callers ask for, already well formed: the requests of the mutations and of the reads that have rules.
//!
//! Serialized to fingerprint a request for idempotency, so two requests are the same exactly when these are.

mod publish_versions;

pub use publish_versions::{PublishVersions, VersionToPublish};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use std::collections::BTreeSet;

use super::access::Role;
use super::adopted::Adopted;
use super::annotations::Annotations;
use super::audit::Finding;
use super::binding::BindingName;
use super::digest::Digest;
use super::etag::Etag;
use super::event::{Cursor, Position};
use super::guardrail::Guardrail;
use super::label::Label;
use super::name::{NamespaceId, PolicyId, PolicyName, PolicyOrVersion, VersionName};
use super::policy::{PolicyKind, PolicySettings};
use super::quota::Quotas;
use super::schedule::{ScheduleName, When};
use super::time::Micros;
use super::version::Requirement;

#[expect(missing_docs, reason = "the fields are those of the proto's request of the same name")]
mod requests {
    use super::*;

    #[derive(Debug, Clone, Serialize)]
    pub struct CreateNamespace {
        pub namespace: NamespaceId,
        pub description: String,
        pub quotas: Quotas,
    }

    /// Changes only what is `Some`.
    #[derive(Debug, Clone, Default, Serialize)]
    pub struct QuotasPatch {
        pub max_policies: Option<i64>,
        pub max_versions: Option<i64>,
        pub max_content_bytes: Option<i64>,
        pub max_streams: Option<u32>,
        pub writes_per_second: Option<u32>,
        pub reads_per_second: Option<u32>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct UpdateNamespace {
        pub namespace: NamespaceId,
        pub description: Option<String>,
        pub quotas: QuotasPatch,
        pub etag: Option<Etag>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct UpdateGuardrails {
        /// `system` for those that hold in all namespaces.
        pub namespace: NamespaceId,
        pub guardrails: Vec<Guardrail>,
        pub reason: String,
        pub etag: Option<Etag>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct ThawNamespace {
        pub namespace: NamespaceId,
        pub reason: String,
        /// The findings that are accepted as they are.
        pub accepted: Vec<Finding>,
        /// The events that the caller says they are about, as far as it says which.
        pub positions: Vec<Position>,
        /// All that is found stays, when this is its digest.
        pub accepted_digest: Option<Digest>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct CreateRoleBinding {
        /// `system` for one that holds in all namespaces.
        pub namespace: NamespaceId,
        pub role: Role,
        pub member: String,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct DeleteRoleBinding {
        pub name: BindingName,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct CreatePolicy {
        pub policy: PolicyName,
        pub kind: PolicyKind,
        pub description: String,
        pub settings: PolicySettings,
    }

    /// Changes only what is `Some`.
    #[derive(Debug, Clone, Default, Serialize)]
    pub struct SettingsPatch {
        pub max_open_drafts: Option<u32>,
        pub json_schema: Option<String>,
        pub allow_backport: Option<bool>,
        pub bump_rule: Option<crate::domain::policy::BumpRule>,
        pub allow_draft_fallback: Option<bool>,
        pub required_approvals: Option<u32>,
        pub require_change_note: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub require_base_active: Option<bool>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub reference_keys: Option<Vec<String>>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct UpdatePolicy {
        pub policy: PolicyName,
        pub kind: Option<PolicyKind>,
        pub description: Option<String>,
        pub settings: SettingsPatch,
        pub etag: Option<Etag>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct Draft {
        pub policy: PolicyName,
        /// Left out of the fingerprint: its digest stands in for it.
        #[serde(skip)]
        pub content: Bytes,
        pub content_type: String,
        pub label: Option<Label>,
        pub change_note: String,
        pub requires: Vec<Requirement>,
        #[serde(skip_serializing_if = "Annotations::is_empty")]
        pub annotations: Annotations,
        pub base_version: i64,
        pub allow_missing: bool,
        /// Of the policy, which must have it or is made with it; none: that of the content type.
        pub kind: Option<PolicyKind>,
        /// Whether a draft may end a version that is staged, with `max_open_drafts` 1.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        pub supersede_staged: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub adopted: Option<Adopted>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub from_template: Option<FromTemplate>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct FromTemplate {
        /// A version of a policy of the same namespace.
        pub template: VersionName,
        /// The text of a JSON object, as it was given.
        pub parameters: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct AbandonDraft {
        pub version: VersionName,
        pub etag: Option<Etag>,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct Stage {
        pub target: PolicyOrVersion,
        pub etag: Option<Etag>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct ApproveVersion {
        pub version: VersionName,
        pub digest: Digest,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct RejectVersion {
        pub version: VersionName,
        pub digest: Digest,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct Publish {
        pub target: PolicyOrVersion,
        pub etag: Option<Etag>,
        pub activate: bool,
        pub reason: String,
        /// Whether it is published although approvals are missing (break-glass).
        pub break_glass: bool,
        /// What must be active now; only with `activate`.
        pub expected_active: Option<i64>,
    }

    /// Which version a rollback returns to.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    pub enum RollbackTarget {
        /// Anything below 1 is refused.
        Number(i64),
        Label(Label),
    }

    /// Where a pointer shall go.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    pub enum PointerTarget {
        /// Of a version; anything below 1 is refused.
        Number(i64),
        Label(Label),
        /// No version any more.
        None,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct ActivationTarget {
        pub policy: PolicyId,
        pub to: PointerTarget,
        pub expected_active: Option<i64>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct Activate {
        pub namespace: NamespaceId,
        pub targets: Vec<ActivationTarget>,
        pub reason: String,
        /// No pointer of the namespace may have moved since.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub unmoved_since: Option<Position>,
        pub skip_validation: bool,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct Rollback {
        pub policy: PolicyName,
        /// None: the one before.
        pub to: Option<RollbackTarget>,
        pub copy_forward: bool,
        pub reason: String,
        pub skip_validation: bool,
        pub expected_active: Option<i64>,
        /// No pointer of the namespace may have moved since.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub unmoved_since: Option<Position>,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct Deactivate {
        pub policy: PolicyName,
        pub expected_active: Option<i64>,
        pub reason: String,
    }

    /// What is put in force together, and when.
    #[derive(Debug, Clone, Serialize)]
    pub struct EntryToSchedule {
        pub targets: Vec<ActivationTarget>,
        pub when: When,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct CreateSchedule {
        pub schedule: ScheduleName,
        pub entries: Vec<EntryToSchedule>,
        pub time_zone: String,
        pub reason: String,
    }

    /// Ends a schedule, or lets it run again.
    #[derive(Debug, Clone, Serialize)]
    pub struct ChangeSchedule {
        pub schedule: ScheduleName,
        pub etag: Option<Etag>,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct PrepareKey {
        /// JWS algorithm.
        pub algorithm: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct ActivateKey {
        pub key_id: String,
        pub reason: String,
    }

    #[derive(Debug, Clone, Serialize)]
    pub struct RevokeKey {
        pub key_id: String,
        pub reason: String,
        pub resign: bool,
    }
}
pub use requests::*;

/// The time at which a read looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// Now, at least as new as every write that returned before the call.
    Now,
    /// It reads the set as it was at a time.
    Time(Micros),
    /// It reads the set as it was right after an event.
    Event(Position),
}

/// Asks for a page of an active set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListActive {
    /// Names the namespace of the set.
    pub namespace: NamespaceId,
    /// The policies asked for; empty: all.
    pub policies: BTreeSet<PolicyId>,
    /// The time or cursor at which to look; a further page uses what the first one found.
    pub as_of: AsOf,
    /// Whether content is left out.
    pub metadata_only: bool,
    /// The page.
    pub page: PageRequest<ActiveKey>,
}

/// Where a page of an active set ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveKey {
    /// The cursor that the pages are of.
    pub cursor: Cursor,
    /// The last policy.
    pub policy: PolicyId,
    /// The checkpoint that was signed for the first page; empty when the past was asked for. It proves nothing to a server: the
    /// one who gets it back verifies it.
    pub checkpoint: String,
}

/// Asks for the active version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetActive {
    /// Names the namespace.
    pub policy: PolicyName,
    /// The time or cursor at which to look.
    pub as_of: AsOf,
    /// The digest of the content that the caller holds.
    pub if_digest: Option<Digest>,
}

/// Asks for a page. `after` is where the page before ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<T> {
    /// Bounds the number of items.
    pub size: u32,
    /// The last key of the page before.
    pub after: Option<T>,
}

/// What was read of a list for one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage<K, T> {
    /// Items, at least as many as fit into an answer unless the page or the list ended before.
    pub items: Vec<T>,
    /// Where the read ended: the key of the last item that was looked at, beyond the last one of the page when what followed is left
    /// out.
    pub reached: Option<K>,
    /// Whether the list ends there.
    pub is_last: bool,
}

/// Opens a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartWatch {
    /// Names the namespace of the active set.
    pub namespace: NamespaceId,
    /// Only these policies; empty: all.
    pub policies: BTreeSet<PolicyId>,
    /// Where the subscriber is.
    pub resume: Option<Position>,
    /// Whether activations in between may be left out.
    pub latest: bool,
    /// Whether content is left out.
    pub metadata_only: bool,
}

/// The options that every mutation has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOptions {
    /// Idempotency key; empty: none.
    pub request_id: String,
    /// Check, change nothing.
    pub validate_only: bool,
}
