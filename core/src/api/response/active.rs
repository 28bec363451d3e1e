//! Bundles, snapshots and activations. Contents are shared, not copied, until a message is encoded.

use std::time::Duration;

use bytes::Bytes;

use crate::api::pb;
use crate::api::pb::watch_active_response::Message;
use crate::api::status::refusal;
use crate::api::time::timestamp;
use crate::domain::Error;
use crate::domain::bundle::{ActiveBundle, Bundle, Staleness};
use crate::domain::event::{Cursor, Position};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::time::Micros;
use crate::domain::watch_message::{ActivationChanges, ActivationEnd, HeartbeatProof, SnapshotEnd};

/// Returns a cursor, with the fingerprint of its event where that is known.
#[must_use]
pub fn cursor(from: impl Into<Position>) -> pb::Cursor {
    from.into().into()
}

/// Returns a bundle put in force by an activation, without its content when `metadata_only`.
fn bundle(from: &Bundle, activation: Option<Cursor>, metadata_only: bool) -> pb::Bundle {
    let version = &from.version;
    pb::Bundle {
        name: version.name(),
        version: version.number,
        label: version.label.as_ref().map(ToString::to_string).unwrap_or_default(),
        digest: version.digest.to_string(),
        size_bytes: version.size_bytes,
        content_type: version.content_type.clone(),
        content: if metadata_only { Bytes::new() } else { from.content.clone() },
        manifest: version.manifest.clone(),
        activation: activation.map(cursor),
        preview: false,
    }
}

/// Returns a bundle in force, or a preview.
#[must_use]
pub fn active_bundle(from: &ActiveBundle, metadata_only: bool) -> pb::Bundle {
    let activation = Some(from.activation).filter(|_| !from.preview);
    pb::Bundle { preview: from.preview, ..bundle(&from.bundle, activation, metadata_only) }
}

/// Writes the answer of GetActive. Without a bundle it says that the caller holds the current one.
#[must_use]
pub fn active(
    at: Position,
    bundle: Option<&ActiveBundle>,
    metadata_only: bool,
    staleness: Staleness,
    checked: Option<Micros>,
) -> pb::GetActiveResponse {
    pb::GetActiveResponse {
        cursor: Some(cursor(at)),
        not_modified: bundle.is_none(),
        statement: bundle.map(|active| active.statement.to_string()).unwrap_or_default(),
        bundle: bundle.map(|active| active_bundle(active, metadata_only)),
        degraded: staleness.degraded,
        in_doubt: staleness.in_doubt,
        checked_time: checked.map(timestamp),
    }
}

/// Writes a page of ListActive without its bundles and token. `end` is the checkpoint and the set proof of the last page.
#[must_use]
pub fn active_page(
    at: Position,
    end: Option<(String, Bytes)>,
    staleness: Staleness,
    checked: Option<Micros>,
) -> pb::ListActiveResponse {
    let (checkpoint, set_proof) = end.unwrap_or_default();
    pb::ListActiveResponse {
        cursor: Some(cursor(at)),
        checkpoint,
        set_proof,
        degraded: staleness.degraded,
        in_doubt: staleness.in_doubt,
        checked_time: checked.map(timestamp),
        ..Default::default()
    }
}

/// Returns a part of a snapshot; the last part has an end.
#[must_use]
pub fn snapshot(
    namespace: &NamespaceId,
    bundles: &[ActiveBundle],
    metadata_only: bool,
    end: Option<SnapshotEnd<'_>>,
) -> pb::WatchActiveResponse {
    let bundles = bundles.iter().map(|active| active_bundle(active, metadata_only)).collect();
    let part = match end {
        None => pb::Snapshot { bundles, ..Default::default() },
        Some(SnapshotEnd { head, checkpoint, set_proof }) => pb::Snapshot {
            bundles,
            complete: true,
            cursor: Some(cursor(head)),
            checkpoint: checkpoint.to_owned(),
            set_proof: set_proof.clone(),
        },
    };
    about(namespace, Message::Snapshot(part))
}

/// Returns a key statement.
#[must_use]
pub fn key_statement(statement: String) -> pb::WatchActiveResponse {
    message(Message::KeyStatement(pb::KeyStatement { statement }))
}

/// Returns a heartbeat: with the proof that its cursor is the newest, or without one for a stream that is ahead of this replica.
#[must_use]
pub fn heartbeat(
    namespace: &NamespaceId,
    proven: Option<HeartbeatProof<'_>>,
    staleness: Staleness,
) -> pb::WatchActiveResponse {
    let Staleness { degraded, in_doubt } = staleness;
    let heartbeat = match proven {
        None => pb::Heartbeat { resume_unknown: true, degraded, in_doubt, ..Default::default() },
        Some(HeartbeatProof { at, checkpoint, set_proof }) => pb::Heartbeat {
            cursor: Some(cursor(at)),
            checkpoint: checkpoint.to_owned(),
            set_proof: set_proof.clone(),
            resume_unknown: false,
            degraded,
            in_doubt,
        },
    };
    about(namespace, Message::Heartbeat(heartbeat))
}

/// Writes the end of the watch of one namespace.
#[must_use]
pub fn watch_ended(parent: String, error: Error) -> pb::WatchActiveResponse {
    pb::WatchActiveResponse { parent, message: Some(Message::Ended(refusal(error))) }
}

/// Returns the end of a stream: `reason` and `backoff` say why and for how long.
#[must_use]
pub fn reconnect(reason: pb::ReconnectReason, backoff: Duration) -> pb::WatchActiveResponse {
    message(Message::Reconnect(pb::Reconnect {
        reason: reason.into(),
        backoff: prost_types::Duration::try_from(backoff).ok(),
    }))
}

/// Returns a message about the whole stream.
fn message(message: Message) -> pb::WatchActiveResponse {
    pb::WatchActiveResponse { message: Some(message), parent: String::new() }
}

fn about(namespace: &NamespaceId, message: Message) -> pb::WatchActiveResponse {
    pb::WatchActiveResponse { message: Some(message), parent: namespace.name() }
}

/// Returns a part of an activation; the last part has an end.
#[must_use]
pub fn activation(
    namespace: &NamespaceId,
    changes: ActivationChanges<'_>,
    metadata_only: bool,
    end: Option<ActivationEnd<'_>>,
) -> pb::WatchActiveResponse {
    let ActivationChanges { at, bundles, tombstones } = changes;
    let tombstone = |policy: &PolicyId| PolicyName { namespace: namespace.clone(), policy: policy.clone() }.to_string();
    let bundles = bundles.iter().map(|each| bundle(each, Some(at), metadata_only)).collect();
    let tombstones = tombstones.iter().map(tombstone).collect();
    let part = match end {
        None => pb::Activation { bundles, tombstones, ..Default::default() },
        Some(ActivationEnd { activation, set_proof }) => pb::Activation {
            bundles,
            tombstones,
            complete: true,
            cursor: Some(cursor(activation.head())),
            statement: activation.statement.to_string(),
            set_proof: set_proof.clone(),
        },
    };
    about(namespace, Message::Activation(part))
}

/// Returns the first message of a watch.
#[must_use]
pub fn opened(heartbeat_interval: Duration) -> pb::WatchActiveResponse {
    let heartbeat_interval = prost_types::Duration::try_from(heartbeat_interval).ok();
    message(Message::Opened(pb::Opened { heartbeat_interval }))
}
