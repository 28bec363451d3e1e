//! The forms of a version: what can be done with it in its state, what each changes, and for how many runtimes.
//!
//! Boundary: who may not do it is not shown the form. The server decides again when it is sent.

use super::pointer_facts::PointerFacts;
use crate::domain::access::{Grants, Rpc};
use crate::domain::policy::Policy;
use crate::domain::version::{Version, VersionState};
use crate::http::console::form::ActionForm;
use crate::http::console::layout::{Layout, command_line, policy_path, version_path};
use crate::http::console::permitted::may;

/// What the forms depend on.
#[derive(Debug, Clone, Copy)]
pub struct VersionFacts<'a> {
    pub policy: &'a Policy,
    pub version: &'a Version,
    /// The pointer of the policy.
    pub pointer: &'a PointerFacts,
    /// Approvals that count for the version.
    pub approvals: usize,
    /// Whether the caller is its author.
    pub is_author: bool,
    pub grants: &'a Grants,
}

/// Returns the forms, the most usual one first.
pub fn version_forms(layout: &Layout, facts: VersionFacts<'_>) -> Vec<ActionForm> {
    let all = match facts.version.state {
        VersionState::Draft => vec![(Rpc::Stage, stage(layout, facts)), (Rpc::AbandonDraft, abandon(layout, facts))],
        VersionState::Staged => vec![
            (Rpc::ApproveVersion, approve(layout, facts)),
            (Rpc::Publish, publish(layout, facts)),
            (Rpc::RejectVersion, reject(layout, facts)),
            (Rpc::AbandonDraft, abandon(layout, facts)),
        ],
        VersionState::Published if facts.policy.active_version == facts.version.number => {
            vec![(Rpc::Deactivate, deactivate(layout, facts))]
        }
        VersionState::Published if facts.policy.active_version > facts.version.number => {
            vec![(Rpc::Rollback, roll_back(layout, facts))]
        }
        VersionState::Published => vec![(Rpc::Activate, activate(layout, facts))],
        VersionState::Superseded | VersionState::Abandoned | VersionState::Rejected => Vec::new(),
    };
    all.into_iter().filter(|(rpc, _)| may(facts.grants, *rpc)).map(|(_, form)| form).collect()
}

/// Returns a form that changes the version, unless it changed since.
fn of_state(layout: &Layout, facts: VersionFacts<'_>, action: &str, button: &str, command: &str) -> ActionForm {
    of_version(layout, facts, action, button, command).hiding("etag", facts.version.etag().to_string())
}

/// Returns a form whose action is a path below the version.
fn of_version(layout: &Layout, facts: VersionFacts<'_>, action: &str, button: &str, command: &str) -> ActionForm {
    let version = facts.version;
    let path = format!("{}/{action}", version_path(&version.policy, version.number));
    ActionForm::new(layout, path, button).like(command_line(&version.policy.namespace, command))
}

/// Returns a form that moves the pointer of the policy, unless it moved since.
fn of_pointer(layout: &Layout, facts: VersionFacts<'_>, action: &str, button: &str, command: &str) -> ActionForm {
    let Policy { name, active_version, .. } = facts.policy;
    ActionForm::new(layout, format!("{}/{action}", policy_path(name)), button)
        .hiding("version", facts.version.number.to_string())
        .hiding("expected_active", active_version.to_string())
        .with_reason(true)
        .like(command_line(&name.namespace, command))
}

fn stage(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    of_state(layout, facts, "stage", "Stage", &format!("stage {}", facts.version.short_name()))
        .that_changes("Its checks run. When they pass it is staged: reviewed and published as it is.")
}

fn abandon(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    of_state(layout, facts, "abandon", "Abandon", &format!("abandon {}", facts.version.short_name()))
        .that_changes("It ends for good, and its label is free again.")
}

fn approve(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    let VersionFacts { policy, version, approvals, is_author, .. } = facts;
    let command = format!("approve {} --digest {}", version.short_name(), version.digest);
    let required = policy.settings.required_approvals;
    let by_whom = if is_author { " You wrote it: somebody else approves it." } else { "" };
    of_version(layout, facts, "approve", "Approve these bytes", &command)
        .that_changes(format!("{approvals} of {required} required approvals are given.{by_whom}"))
        .hiding("digest", version.digest.to_string())
        .with_reason(false)
}

fn reject(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    let command = format!("reject {} --digest {} --reason …", facts.version.short_name(), facts.version.digest);
    of_version(layout, facts, "reject", "Reject these bytes", &command)
        .that_changes("It ends for good.")
        .hiding("digest", facts.version.digest.to_string())
        .with_reason(true)
}

fn publish(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    let (given, required) = (facts.approvals, facts.policy.settings.required_approvals);
    let changes = if u32::try_from(given).unwrap_or(u32::MAX) < required {
        format!("It is refused until it has its approvals: {given} of {required} are given.")
    } else {
        "It is signed, never changes again, and can be activated. Nothing runs it by this.".to_owned()
    };
    of_state(layout, facts, "publish", "Publish", &format!("publish {}", facts.version.short_name()))
        .that_changes(changes)
}

fn activate(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    let (policy, version) = (&facts.policy.name.policy, facts.version);
    let expected = facts.policy.active_version;
    let command = format!("activate {} --expected {policy}={expected} --reason …", version.short_name());
    of_pointer(layout, facts, "activate", "Activate", &command)
        .that_changes(facts.pointer.moved(facts.policy, Some(version)))
}

fn roll_back(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    let (policy, version) = (&facts.policy.name.policy, facts.version);
    let command = format!("rollback {policy} --to {} --reason …", version.number);
    of_pointer(layout, facts, "roll-back", "Roll back to this version", &command)
        .that_changes(facts.pointer.moved(facts.policy, Some(version)))
}

fn deactivate(layout: &Layout, facts: VersionFacts<'_>) -> ActionForm {
    let command = format!("deactivate {} --reason …", facts.policy.name.policy);
    of_pointer(layout, facts, "deactivate", "Deactivate", &command)
        .that_changes(facts.pointer.moved(facts.policy, None))
}
