//! Events and what activations did.

use super::cursor;
use super::version::{adopted, state};
use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::event::{Event, EventKind, Payload, PointerChange};
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::outcome::Activated;

/// Returns the kind of an event.
#[must_use]
pub fn event_kind(from: EventKind) -> pb::EventKind {
    match from {
        EventKind::CreateNamespace => pb::EventKind::CreateNamespace,
        EventKind::UpdateNamespace => pb::EventKind::UpdateNamespace,
        EventKind::CreatePolicy => pb::EventKind::CreatePolicy,
        EventKind::UpdatePolicy => pb::EventKind::UpdatePolicy,
        EventKind::Draft => pb::EventKind::Draft,
        EventKind::AbandonDraft => pb::EventKind::AbandonDraft,
        EventKind::Stage => pb::EventKind::Stage,
        EventKind::Publish => pb::EventKind::Publish,
        EventKind::Activate => pb::EventKind::Activate,
        EventKind::Rollback => pb::EventKind::Rollback,
        EventKind::Deactivate => pb::EventKind::Deactivate,
        EventKind::BumpEpoch => pb::EventKind::BumpEpoch,
        EventKind::CreateRoleBinding => pb::EventKind::CreateRoleBinding,
        EventKind::DeleteRoleBinding => pb::EventKind::DeleteRoleBinding,
        EventKind::ApproveVersion => pb::EventKind::ApproveVersion,
        EventKind::RejectVersion => pb::EventKind::RejectVersion,
        EventKind::BreakGlass => pb::EventKind::BreakGlass,
        EventKind::PrepareSigningKey => pb::EventKind::PrepareSigningKey,
        EventKind::ActivateSigningKey => pb::EventKind::ActivateSigningKey,
        EventKind::RevokeSigningKey => pb::EventKind::RevokeSigningKey,
        EventKind::Resign => pb::EventKind::Resign,
        EventKind::RevokeToken => pb::EventKind::RevokeToken,
        EventKind::ThawNamespace => pb::EventKind::ThawNamespace,
        EventKind::UpdateGuardrails => pb::EventKind::UpdateGuardrails,
        EventKind::Schedule => pb::EventKind::Schedule,
        EventKind::SuspendSchedule => pb::EventKind::SuspendSchedule,
        EventKind::ResumeSchedule => pb::EventKind::ResumeSchedule,
        EventKind::CancelSchedule => pb::EventKind::CancelSchedule,
        EventKind::ImportNamespace => pb::EventKind::ImportNamespace,
    }
}

fn pointer_change(namespace: &NamespaceId, from: PointerChange) -> pb::PointerChange {
    pb::PointerChange {
        policy: PolicyName { namespace: namespace.clone(), policy: from.policy }.to_string(),
        version: from.version,
        digest: from.digest.map(String::from).unwrap_or_default(),
        previous_version: from.previous,
    }
}

/// Returns an event with what its payload says.
#[must_use]
pub fn event(from: Event, payload: Payload) -> pb::Event {
    let namespace = &from.namespace;
    let within = |policy| PolicyName { namespace: namespace.clone(), policy };
    let schedule = payload.schedule.as_ref();
    let due_time = schedule.and_then(|about| about.due_time).map(timestamp);
    pb::Event {
        schedule: schedule.map(|about| about.id.name(namespace)).unwrap_or_default(),
        due_time,
        namespace: namespace.name(),
        cursor: Some(cursor(from.head())),
        kind: event_kind(payload.kind).into(),
        time: Some(timestamp(payload.time)),
        actor: payload.actor,
        reason: payload.reason,
        policy: payload.policy.map(|policy| within(policy).to_string()).unwrap_or_default(),
        versions: payload
            .versions
            .into_iter()
            .map(|change| pb::VersionChange {
                version_name: within(change.policy).version(change.version),
                state: state(change.state).into(),
                digest: change.digest.into(),
                adopted: change.adopted.map(adopted),
            })
            .collect(),
        changes: payload.changes.into_iter().map(|change| pointer_change(namespace, change)).collect(),
        statement: from.statement,
        payload: from.payload.into(),
        prev_hash: from.prev_hash.to_vec().into(),
        hash: from.hash.to_vec().into(),
        seal: from.seal.into(),
        seal_key_id: from.seal_key_id,
        origin_store: String::new(),
    }
}

/// Returns an event of another store, marked as such.
#[must_use]
pub fn imported_event(from: Event, payload: Payload) -> pb::Event {
    let origin_store = payload.store.clone();
    pb::Event { origin_store, ..event(from, payload) }
}

/// Returns what an activation did.
#[must_use]
pub fn activation_summary(from: Activated) -> pb::ActivationSummary {
    let namespace = &from.namespace;
    pb::ActivationSummary {
        changes: from.changes.into_iter().map(|change| pointer_change(namespace, change)).collect(),
        statement: from.statement,
        watching_streams: i32::try_from(from.watching_streams).unwrap_or(i32::MAX),
    }
}
