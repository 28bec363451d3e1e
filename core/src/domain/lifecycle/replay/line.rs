//! One policy as its log describes it: its settings, its versions, and the approvals that they were given.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::annotations::Annotations;
use super::super::super::approval::Approval;
use super::super::super::command;
use super::super::super::event::{EventKind, Payload, VersionChange};
use super::super::super::name::{NamespaceId, PolicyId, PolicyName};
use super::super::super::policy::{ImportedPolicy, Policy, PolicyKind, PolicySettings};
use super::super::super::version::{Version, VersionState};

/// A policy and its versions.
#[derive(Debug)]
pub(super) struct PolicyReplay {
    pub(super) policy: Policy,
    /// Says whether its settings are known. Those of policies that were imported before events carried them are not.
    pub(super) is_known: bool,
    pub(super) versions: BTreeMap<i64, Version>,
    /// Holds the newest approval by version and approver.
    approvals: BTreeMap<i64, BTreeMap<String, Approval>>,
    /// Versions that were in force at some time.
    pub(super) were_active: BTreeSet<i64>,
}

impl PolicyReplay {
    fn with(policy: Policy, is_known: bool) -> Self {
        let (versions, approvals, were_active) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { policy, is_known, versions, approvals, were_active }
    }

    /// Returns a policy as the event says that made it.
    pub(super) fn new(payload: &Payload, policy: &PolicyId) -> Self {
        let made = Policy::new(name(&payload.namespace, policy), PolicyKind::Opaque, payload.time);
        Self::with(Policy { settings: settings_of(payload), ..made }, true)
    }

    /// Returns a policy that an import brought, as its event says.
    pub(super) fn imported(payload: &Payload, brought: &ImportedPolicy) -> Self {
        let made = Policy::new(name(&payload.namespace, &brought.policy), PolicyKind::Opaque, payload.time);
        let settings = PolicySettings {
            required_approvals: brought.required_approvals,
            max_open_drafts: brought.max_open_drafts,
            ..PolicySettings::default()
        };
        let policy = Policy { settings, edits: brought.edits, latest_version: brought.latest_version, ..made };
        Self::with(policy, true)
    }

    /// Returns a policy whose settings no event carries.
    pub(super) fn unknown(payload: &Payload, policy: &PolicyId) -> Self {
        Self::with(Policy::new(name(&payload.namespace, policy), PolicyKind::Opaque, payload.time), false)
    }

    /// Returns the approvals of a version in order of the approvers, as the server reads them.
    pub(super) fn approvals_of(&self, version: i64) -> Vec<Approval> {
        self.approvals.get(&version).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Takes in what an event says of a version.
    pub(super) fn change(&mut self, payload: &Payload, change: &VersionChange) {
        self.policy.latest_version = self.policy.latest_version.max(change.version);
        let new = || new_version(&self.policy.name, payload, change);
        let version = self.versions.entry(change.version).or_insert_with(new);
        version.state = change.state;
        version.digest.clone_from(&change.digest);
        if payload.kind == EventKind::ApproveVersion {
            let given = self.approvals.entry(change.version).or_default();
            given.extend(payload.approvals.iter().map(|approval| (approval.approver.clone(), approval.clone())));
        }
    }
}

fn name(namespace: &NamespaceId, policy: &PolicyId) -> PolicyName {
    PolicyName { namespace: namespace.clone(), policy: policy.clone() }
}

/// Settings as an event of a policy carries them; those of a draft that made its policy are none.
pub(super) fn settings_of(payload: &Payload) -> PolicySettings {
    let carried = payload.settings.as_ref().and_then(|settings| settings.get("settings"));
    carried.and_then(|settings| serde_json::from_value(settings.clone()).ok()).unwrap_or_default()
}

/// Returns a draft as far as its event describes it. What ends with it stands in the event, so it may end what is staged.
pub(super) fn draft_of(policy: &Policy, change_note: &str) -> command::Draft {
    command::Draft {
        policy: policy.name.clone(),
        content: bytes::Bytes::new(),
        content_type: String::new(),
        label: None,
        change_note: change_note.to_owned(),
        requires: Vec::new(),
        annotations: Annotations::default(),
        adopted: None,
        from_template: None,
        base_version: 0,
        allow_missing: false,
        kind: None,
        supersede_staged: true,
    }
}

/// Returns a version as the event says that made it. What it came with is not in the log; that it came from elsewhere is.
fn new_version(policy: &PolicyName, payload: &Payload, change: &VersionChange) -> Version {
    let origin_manifests = if payload.kind == EventKind::ImportNamespace && change.state == VersionState::Published {
        vec![String::new()]
    } else {
        Vec::new()
    };
    Version {
        policy: policy.clone(),
        number: change.version,
        state: change.state,
        label: None,
        digest: change.digest.clone(),
        size_bytes: 0,
        content_type: String::new(),
        change_note: String::new(),
        requires: Vec::new(),
        base_version: 0,
        source_version: 0,
        // The importer counts as its author.
        author: payload.actor.clone(),
        publisher: String::new(),
        manifest: String::new(),
        edits: 1,
        create_time: payload.time,
        stage_time: None,
        publish_time: None,
        origin_manifests,
        annotations: Annotations::default(),
        adopted: None,
        template: None,
    }
}
