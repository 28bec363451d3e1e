//! Policies, versions and names the tests are made of.
//!
//! One place says what a version without a history looks like, for this model and the unit tests beside the decisions.

use super::operation::{CONTENTS, LABELS, PEOPLE};
use crate::domain::annotations::Annotations;
use crate::domain::command::{self, ActivationTarget, PointerTarget};
use crate::domain::digest::Digest;
use crate::domain::error::Result;
use crate::domain::event::PointerChange;
use crate::domain::label::Label;
use crate::domain::lifecycle::{TargetFacts, activate};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName, VersionName, VersionRef};
use crate::domain::policy::{Policy, PolicyKind};
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};

pub(super) fn namespace() -> NamespaceId {
    NamespaceId::parse("namespace", "n").unwrap()
}

pub(in crate::domain::lifecycle) fn policy_name(index: usize) -> PolicyName {
    PolicyName { namespace: namespace(), policy: PolicyId::parse("policy", &format!("p{index}")).unwrap() }
}

pub(super) fn version_name(policy: usize, number: i64) -> VersionName {
    VersionName { policy: policy_name(policy), version: VersionRef::Number(number) }
}

pub(in crate::domain::lifecycle) fn digest(content: u8) -> Digest {
    Digest::from_sha256(&[content; 32])
}

pub(super) fn content_of(digest: &Digest) -> u8 {
    (0..CONTENTS).find(|content| &self::digest(*content) == digest).unwrap()
}

pub(in crate::domain::lifecycle) fn label(index: usize) -> Label {
    Label::parse("label", LABELS[index]).unwrap()
}

/// Returns who somebody is.
pub(super) fn person(index: usize) -> String {
    format!("local:{index}")
}

pub(super) fn index_of(person: &str) -> usize {
    (0..PEOPLE).find(|index| self::person(*index) == person).unwrap()
}

/// Returns a request for a draft that says nothing but of which policy.
pub(in crate::domain::lifecycle) fn draft_request(policy: PolicyName) -> command::Draft {
    command::Draft {
        policy,
        content: bytes::Bytes::new(),
        content_type: String::new(),
        label: None,
        change_note: String::new(),
        requires: Vec::new(),
        annotations: Annotations::default(),
        base_version: 0,
        allow_missing: false,
        kind: None,
        supersede_staged: false,
        adopted: None,
        from_template: None,
    }
}

/// Returns a draft as it begins.
pub(in crate::domain::lifecycle) fn new_version(
    policy: PolicyName,
    number: i64,
    label: Option<Label>,
    digest: Digest,
) -> Version {
    Version {
        policy,
        number,
        state: VersionState::Draft,
        label,
        digest,
        size_bytes: 1,
        content_type: String::new(),
        change_note: String::new(),
        requires: Vec::new(),
        base_version: 0,
        source_version: 0,
        author: "local:author".to_owned(),
        publisher: String::new(),
        manifest: String::new(),
        edits: 1,
        create_time: Micros(0),
        stage_time: None,
        publish_time: None,
        origin_manifests: Vec::new(),
        annotations: Annotations::default(),
        adopted: None,
        template: None,
    }
}

/// Returns a policy as it begins.
pub(in crate::domain::lifecycle) fn new_policy(index: usize) -> Policy {
    Policy::new(policy_name(index), PolicyKind::Opaque, Micros(0))
}

pub(super) fn published(version: Version) -> Version {
    Version {
        state: VersionState::Published,
        publisher: "local:publisher".to_owned(),
        manifest: format!("signed {}", version.digest),
        edits: version.edits + 1,
        publish_time: Some(Micros(1)),
        origin_manifests: Vec::new(),
        ..version
    }
}

/// Returns a pointer that moves to a version, as an activation of it alone decides.
pub(super) fn point_to(policy: &Policy, version: &Version) -> Result<Vec<PointerChange>> {
    let to = PointerTarget::Number(version.number);
    let target = ActivationTarget { policy: policy.name.policy.clone(), to, expected_active: None };
    activate(&[target], &[TargetFacts { policy, version: Some(version) }])
}
