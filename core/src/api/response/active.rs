//! Bundles, snapshots and activations. Contents are shared, not copied, until a message is encoded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::pb;
use crate::api::pb::watch_active_response::Message;
use crate::api::status::refusal;
use crate::domain::Error;
use crate::domain::bundle::{ActiveBundle, Bundle, Staleness};
use crate::domain::event::{Cursor, Position};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};

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

/// Returns a part of a snapshot: its bundles, and nothing of its end.
#[must_use]
pub fn snapshot_part(bundles: &[ActiveBundle], metadata_only: bool) -> pb::Snapshot {
    let bundles = bundles.iter().map(|active| active_bundle(active, metadata_only)).collect();
    pb::Snapshot { bundles, ..Default::default() }
}

/// Returns a part of a snapshot as a message of a watch.
#[must_use]
pub fn snapshot(namespace: &NamespaceId, part: pb::Snapshot) -> pb::WatchActiveResponse {
    about(namespace, Message::Snapshot(part))
}

/// Returns a key statement.
#[must_use]
pub fn key_statement(statement: String) -> pb::WatchActiveResponse {
    message(Message::KeyStatement(pb::KeyStatement { statement }))
}

/// Returns a sign of life: of a cursor with its checkpoint and the proof of a filter, or of a stream that is ahead of this replica.
#[must_use]
pub fn heartbeat(
    namespace: &NamespaceId,
    proven: Option<(Position, &str, &Bytes)>,
    staleness: Staleness,
) -> pb::WatchActiveResponse {
    let heartbeat = pb::Heartbeat {
        cursor: proven.map(|(at, ..)| cursor(at)),
        checkpoint: proven.map(|(_, checkpoint, _)| checkpoint.to_owned()).unwrap_or_default(),
        set_proof: proven.map(|(.., set_proof)| set_proof.clone()).unwrap_or_default(),
        resume_unknown: proven.is_none(),
        degraded: staleness.degraded,
        in_doubt: staleness.in_doubt,
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

/// Returns a part of the activation at a cursor: what it changes, and nothing of its end.
#[must_use]
pub fn activation_part(
    namespace: &NamespaceId,
    at: Cursor,
    bundles: &[Arc<Bundle>],
    tombstones: &[PolicyId],
    metadata_only: bool,
) -> pb::Activation {
    let tombstone = |policy: &PolicyId| PolicyName { namespace: namespace.clone(), policy: policy.clone() }.to_string();
    pb::Activation {
        bundles: bundles.iter().map(|each| bundle(each, Some(at), metadata_only)).collect(),
        tombstones: tombstones.iter().map(tombstone).collect(),
        ..Default::default()
    }
}

/// Returns a part of an activation as a message of a watch.
#[must_use]
pub fn activation(namespace: &NamespaceId, part: pb::Activation) -> pb::WatchActiveResponse {
    about(namespace, Message::Activation(part))
}

/// Returns the first message of a watch.
#[must_use]
pub fn opened(heartbeat_interval: Duration) -> pb::WatchActiveResponse {
    let heartbeat_interval = prost_types::Duration::try_from(heartbeat_interval).ok();
    message(Message::Opened(pb::Opened { heartbeat_interval }))
}
