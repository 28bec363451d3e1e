//! Versions: one immutable content of a policy, numbered by the server.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::adopted::Adopted;
use super::annotations::Annotations;
use super::approval::Approval;
use super::digest::Digest;
use super::etag::Etag;
use super::label::Label;
use super::name::{PolicyId, PolicyName};
use super::principal::is_imported_identity;
use super::side_by_side::SideBySide;
use super::template::TemplateSource;
use super::time::Micros;

/// The state of a version. "Active" is a pointer, never a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum VersionState {
    /// Written, not locked.
    Draft,
    /// Checked and locked.
    Staged,
    /// Signed, immutable for ever.
    Published,
    /// End: a newer draft took its place.
    Superseded,
    /// End: abandoned.
    Abandoned,
    /// End: rejected by a reviewer.
    Rejected,
}

/// A requirement on another policy of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// The other policy.
    pub policy: PolicyId,
    /// SemVer requirement on the label of its active version.
    pub version_req: semver::VersionReq,
}

/// The active version of a policy, as far as requirements look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelInForce<'a> {
    /// Its number.
    pub version: i64,
    /// Its label.
    pub label: Option<&'a Label>,
}

impl Requirement {
    /// Returns whether it is satisfied while this version of its policy is active; none: none is.
    #[must_use]
    pub fn is_satisfied_by(&self, active: Option<LabelInForce<'_>>) -> bool {
        active.and_then(|active| active.label).is_some_and(|label| label.satisfies(&self.version_req))
    }
}

impl<'a> From<&'a Version> for LabelInForce<'a> {
    fn from(version: &'a Version) -> Self {
        Self { version: version.number, label: version.label.as_ref() }
    }
}

impl fmt::Display for LabelInForce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.label {
            Some(label) => write!(f, "version {} with label {label}", self.version),
            None => write!(f, "version {} without a label", self.version),
        }
    }
}

/// Everything about a version but its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its policy.
    pub policy: PolicyName,
    /// Its number, from 1.
    pub number: i64,
    /// Its state.
    pub state: VersionState,
    /// Its label.
    pub label: Option<Label>,
    /// Digest of its content.
    pub digest: Digest,
    /// Size of its content in bytes.
    pub size_bytes: i64,
    /// Media type of its content.
    pub content_type: String,
    /// What the author said of it.
    pub change_note: String,
    /// What must be active for it to be active.
    pub requires: Vec<Requirement>,
    /// The version the author started from; 0: not said.
    pub base_version: i64,
    /// The version its content was copied from; 0: none.
    pub source_version: i64,
    /// Who drafted it.
    pub author: String,
    /// Who published it; empty before.
    pub publisher: String,
    /// Compact JWS of its bundle; empty before publishing.
    pub manifest: String,
    /// The number of writes: every change of state raises it.
    #[serde(rename = "etag")]
    pub edits: i64,
    /// The time at which it was drafted.
    pub create_time: Micros,
    /// The time at which its checks passed.
    pub stage_time: Option<Micros>,
    /// The time at which it was published.
    pub publish_time: Option<Micros>,
    /// Manifests of the stores it was imported from, the nearest first. Empty: it was made here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origin_manifests: Vec<String>,
    /// What its author said of it, by name. Annotations never change, so its etag is not derived from them.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// Who wrote it before it came here, as its author says; none: it was made here. It never changes either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
    /// The template that its content was made from; none: its author wrote the content. It never changes either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<TemplateSource>,
}

impl VersionState {
    /// Every state, in the order of the proto.
    pub const ALL: [Self; 6] =
        [Self::Draft, Self::Staged, Self::Published, Self::Superseded, Self::Abandoned, Self::Rejected];

    /// Returns the word kept in the database and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::Staged => "STAGED",
            Self::Published => "PUBLISHED",
            Self::Superseded => "SUPERSEDED",
            Self::Abandoned => "ABANDONED",
            Self::Rejected => "REJECTED",
        }
    }

    /// Takes the word back.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Returns whether it may still be published.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Draft | Self::Staged)
    }
}

/// A version, with its content if requested.
#[derive(Debug, Clone)]
pub struct VersionWithContent {
    /// The version.
    pub version: Version,
    /// The content.
    pub content: Option<Bytes>,
    /// Whether the policy points to it.
    pub active: bool,
    /// The approvals that count now.
    pub approvals: Vec<Approval>,
}

/// What changed between two versions.
#[derive(Debug, Clone)]
pub struct VersionDifference {
    /// The version that is compared.
    pub from: VersionWithContent,
    /// The version with which it is compared.
    pub to: VersionWithContent,
    /// Unified diff; empty when it is too large.
    pub unified: String,
    /// JSON Patch, empty when either can't be parsed, or it is too large.
    pub json_patch: String,
    /// Whether a result is left out because it is above `DIFFERENCE_MAX_BYTES`.
    pub too_large: bool,
    /// The fields that differ, for people; none when either can't be parsed.
    pub fields: Option<FieldDifferences>,
    /// The lines that differ, for people. It does not depend on `too_large`.
    pub side_by_side: SideBySide,
}

/// The fields that differ between two documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldDifferences {
    /// The fields, in the order of their paths.
    pub fields: Vec<FieldDifference>,
    /// Whether there are more.
    pub is_cut: bool,
}

/// One field that differs. Values are JSON text, cut when they are long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What it was; none: it was not there.
    pub old: Option<String>,
    /// What it is; none: it is gone.
    pub new: Option<String>,
}

impl Version {
    /// Returns whether another store published it.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.state == VersionState::Published && !self.origin_manifests.is_empty()
    }

    /// Returns whether an import brought it, in whatever state: its author is one of another store.
    #[must_use]
    pub fn came_by_import(&self) -> bool {
        !self.origin_manifests.is_empty() || is_imported_identity(&self.author)
    }

    /// Returns its full name.
    #[must_use]
    pub fn name(&self) -> String {
        self.policy.version(self.number)
    }

    /// Returns its name within its namespace, as the command line takes it: `POLICY@N`.
    #[must_use]
    pub fn short_name(&self) -> String {
        format!("{}@{}", self.policy.policy, self.number)
    }

    /// Returns its etag: which version it is, of what content, and where it stands.
    #[must_use]
    pub fn etag(&self) -> Etag {
        let label = self.label.as_ref().map(ToString::to_string).unwrap_or_default();
        Etag::derive(
            "version",
            &[
                // It holds the number.
                self.name().as_bytes(),
                // A version of another store, or of a policy of this name that is gone, is another one.
                &self.create_time.0.to_be_bytes(),
                self.digest.as_str().as_bytes(),
                label.as_bytes(),
                self.state.as_str().as_bytes(),
                &self.edits.to_be_bytes(),
            ],
        )
    }
}
