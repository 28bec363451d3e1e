//! The active versions of other policies, as far as a version names them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::domain::digest::Digest;
use crate::domain::label::Label;
use crate::domain::name::PolicyId;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{CheckFinding, LookedUp, Severity};
use crate::domain::version::{LabelInForce, Requirement};

/// What a version names of other policies, and what is active there.
#[derive(Debug, Clone, Default)]
pub struct OtherPolicies {
    /// The policy of the version; none: not known.
    pub own: Option<PolicyId>,
    /// What the version requires.
    pub requires: Vec<Requirement>,
    /// The active version of each policy that the version refers to or requires; none: none is active.
    pub active: BTreeMap<PolicyId, Option<OtherPolicy>>,
    /// Size of all contents that the version refers to. Beyond `REFERENCED_CONTENT_MAX_BYTES` they are left out.
    pub referenced_bytes: i64,
    /// Whether the version is about to be active. Before that, what is missing elsewhere is a warning: it may be activated first, or
    /// together with the version.
    pub is_to_be_active: bool,
}

/// The active version of another policy.
#[derive(Debug, Clone)]
pub struct OtherPolicy {
    /// The kind of the policy.
    pub kind: PolicyKind,
    /// Whether the content has several files.
    pub has_several_files: bool,
    /// The number of the version.
    pub version: i64,
    /// Its label.
    pub label: Option<Label>,
    /// The digest of its content.
    pub digest: Digest,
    /// Its content, if the version refers to it.
    pub content: Option<Bytes>,
}

impl OtherPolicies {
    /// Returns the active versions on which the checks depend.
    pub(super) fn looked_up(&self) -> Vec<LookedUp> {
        let looked_up = |(policy, active): (&PolicyId, &Option<OtherPolicy>)| LookedUp {
            policy: policy.clone(),
            version: active.as_ref().map_or(0, |active| active.version),
            digest: active.as_ref().map(|active| active.digest.clone()),
        };
        self.active.iter().map(looked_up).collect()
    }

    /// Returns the active version of a policy, as far as requirements look at it.
    pub(super) fn label_of(&self, policy: &PolicyId) -> Option<LabelInForce<'_>> {
        let active = self.active.get(policy)?.as_ref()?;
        Some(LabelInForce { version: active.version, label: active.label.as_ref() })
    }

    /// Returns a finding about something that is missing in another policy.
    pub(super) fn missing(&self, message: impl Into<String>) -> CheckFinding {
        let severity = if self.is_to_be_active { Severity::Error } else { Severity::Warning };
        CheckFinding::new(severity, message)
    }
}
