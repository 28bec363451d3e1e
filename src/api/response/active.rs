//! Bundles, snapshots and activations. Contents are shared, not copied, until a message is encoded.

use bytes::Bytes;

use crate::api::pb;
use crate::domain::bundle::{Activation, ActiveBundle, ActiveSet, Bundle};
use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::limits::SNAPSHOT_PART_MAX_BYTES;
use crate::domain::name::{NamespaceId, PolicyName};

/// What a bundle's message has beside content and JWS, at most: name, label, digest, media type and their framing.
const BUNDLE_OVERHEAD_BYTES: usize = 1024;

/// A cursor.
#[must_use]
pub fn cursor(from: Cursor) -> pb::Cursor {
    pb::Cursor { epoch: from.epoch, revision: from.revision }
}

/// A bundle, without its content when `metadata_only`.
#[must_use]
pub fn bundle(from: &Bundle, metadata_only: bool) -> pb::Bundle {
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
    }
}

/// A bundle in force.
#[must_use]
pub fn active_bundle(from: &ActiveBundle, metadata_only: bool) -> pb::ActiveBundle {
    pb::ActiveBundle {
        bundle: Some(bundle(&from.bundle, metadata_only)),
        revision: from.revision,
        statement: from.statement.to_string(),
        preview: from.preview,
    }
}

/// A snapshot, in parts below the limit; the last one is complete. There is always one, even of nothing.
#[must_use]
pub fn snapshot(set: &ActiveSet, digest: &Digest, metadata_only: bool) -> Vec<pb::WatchActiveResponse> {
    let mut parts = vec![pb::Snapshot::default()];
    let mut size = 0;
    for active in &set.bundles {
        let content = if metadata_only { 0 } else { active.bundle.content.len() };
        let bytes = content + active.bundle.version.manifest.len() + active.statement.len() + BUNDLE_OVERHEAD_BYTES;
        if size > 0 && size + bytes > SNAPSHOT_PART_MAX_BYTES {
            parts.push(pb::Snapshot::default());
            size = 0;
        }
        size += bytes;
        if let Some(part) = parts.last_mut() {
            part.bundles.push(active_bundle(active, metadata_only));
        }
    }
    if let Some(last) = parts.last_mut() {
        last.complete = true;
        last.cursor = Some(cursor(set.cursor));
        last.active_set_digest = digest.to_string();
    }
    let message = |part| pb::WatchActiveResponse { message: Some(pb::watch_active_response::Message::Snapshot(part)) };
    parts.into_iter().map(message).collect()
}

/// An activation.
#[must_use]
pub fn activation(namespace: &NamespaceId, from: &Activation, metadata_only: bool) -> pb::WatchActiveResponse {
    let tombstone = |policy: &_| PolicyName { namespace: namespace.clone(), policy: Clone::clone(policy) }.to_string();
    let activation = pb::Activation {
        cursor: Some(cursor(from.cursor)),
        statement: from.statement.to_string(),
        bundles: from.bundles.iter().map(|each| bundle(each, metadata_only)).collect(),
        tombstones: from.tombstones.iter().map(tombstone).collect(),
    };
    pb::WatchActiveResponse { message: Some(pb::watch_active_response::Message::Activation(activation)) }
}
