//! The messages of a watch, as the contract wants them: in parts, with documents and proofs on the last one.
//!
//! Boundary: writes what it is given, and decides nothing.

use std::slice::from_ref;
use std::sync::Arc;

use prost::Message as _;

use super::log::StateAt;
use policyhub_core::api::page::FIELD_OVERHEAD_BYTES;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::api::{pb, response};
use policyhub_core::domain::bundle::{ActiveBundle, Bundle, Staleness};
use policyhub_core::domain::command::StartWatch;
use policyhub_core::domain::limits::MESSAGE_MAX_BYTES;
use policyhub_core::domain::name::PolicyId;
use policyhub_core::domain::watch_message::{ActivationChanges, ActivationEnd, HeartbeatProof, SnapshotEnd};

/// Bounds what a message has beside bundles, documents and names of policies: cursors and framing.
const MESSAGE_OVERHEAD_BYTES: usize = 1024;
/// Bounds what the name of a policy takes in a message beside its id.
const TOMBSTONE_OVERHEAD_BYTES: usize = 128;

fn wants(watch: &StartWatch, policy: &PolicyId) -> bool {
    watch.policies.is_empty() || watch.policies.contains(policy)
}

/// Writes a snapshot. `checkpoint` signs the state.
pub(super) fn snapshot(state: &StateAt, watch: &StartWatch, checkpoint: &str) -> Vec<pb::WatchActiveResponse> {
    let set_proof = &state.prove(&watch.policies);
    let wanted = state.active.iter().filter(|(policy, _)| wants(watch, policy));
    let bundles = wanted.map(|(_, active)| active.clone()).collect();
    let write = |part: &[ActiveBundle], end| response::snapshot(&watch.namespace, part, watch.metadata_only, end);
    let mut parts = parts(bundles, checkpoint.len() + set_proof.len(), |bundle| write(from_ref(bundle), None));
    let last = parts.pop().unwrap_or_default();
    let end = SnapshotEnd { head: state.head, checkpoint, set_proof };
    parts.iter().map(|part| write(part, None)).chain([write(&last, Some(end))]).collect()
}

/// Writes the activation after which a state holds; nothing, when the watch wants none of its changes.
pub(super) fn activation(state: &StateAt, watch: &StartWatch) -> Vec<pb::WatchActiveResponse> {
    let Some(activation) = &state.activation else { return Vec::new() };
    let is_wanted = |bundle: &&Arc<Bundle>| wants(watch, &bundle.version.policy.policy);
    let bundles: Vec<Arc<Bundle>> = activation.bundles.iter().filter(is_wanted).cloned().collect();
    let tombstones: Vec<PolicyId> =
        activation.tombstones.iter().filter(|policy| wants(watch, policy)).cloned().collect();
    if bundles.is_empty() && tombstones.is_empty() {
        return Vec::new();
    }
    let set_proof = &state.prove(&watch.policies);
    let write = |bundles: &[Arc<Bundle>], tombstones: &[PolicyId], end| {
        let changes = ActivationChanges { at: activation.cursor, bundles, tombstones };
        response::activation(&watch.namespace, changes, watch.metadata_only, end)
    };
    let names_bytes: usize = tombstones.iter().map(|id| id.as_str().len() + TOMBSTONE_OVERHEAD_BYTES).sum();
    let end_bytes = activation.statement.len() + set_proof.len() + names_bytes;
    let mut parts = parts(bundles, end_bytes, |bundle| write(from_ref(bundle), &[], None));
    let last = parts.pop().unwrap_or_default();
    let end = ActivationEnd { activation, set_proof };
    parts.iter().map(|part| write(part, &[], None)).chain([write(&last, &tombstones, Some(end))]).collect()
}

/// Writes the heartbeat of a stream that received everything up to a state. `checkpoint` signs the state.
pub(super) fn heartbeat(state: &StateAt, watch: &StartWatch, checkpoint: &str) -> pb::WatchActiveResponse {
    let proof = HeartbeatProof { at: state.head.into(), checkpoint, set_proof: &state.prove(&watch.policies) };
    response::heartbeat(&watch.namespace, Some(proof), Staleness::default())
}

/// Splits bundles into messages, in order; `write` writes a message with one of them. Only the last one may be empty, and it has room
/// for its end.
fn parts<T>(bundles: Vec<T>, end_bytes: usize, write: impl Fn(&T) -> pb::WatchActiveResponse) -> Vec<Vec<T>> {
    let room = MESSAGE_MAX_BYTES - MESSAGE_OVERHEAD_BYTES;
    let (mut parts, mut part, mut part_bytes) = (Vec::new(), Vec::new(), 0);
    for bundle in bundles {
        let size = write(&bundle).encoded_len() + FIELD_OVERHEAD_BYTES;
        if part_bytes > 0 && part_bytes + size > room {
            parts.push(std::mem::take(&mut part));
            part_bytes = 0;
        }
        part_bytes += size;
        part.push(bundle);
    }
    if part_bytes > 0 && part_bytes + end_bytes > room {
        parts.push(std::mem::take(&mut part));
    }
    parts.push(part);
    parts
}

/// Returns the document of a message that puts something in force; none of every other message, and of parts before the last.
pub(super) fn document(message: &mut pb::WatchActiveResponse) -> Option<&mut String> {
    let document = match &mut message.message {
        Some(Message::Snapshot(part)) => &mut part.checkpoint,
        Some(Message::Activation(part)) => &mut part.statement,
        _ => return None,
    };
    Some(document).filter(|document| !document.is_empty())
}

/// Breaks the signature of a document, and nothing else of it.
pub(super) fn break_signature(document: &mut String) {
    let Some((signed, signature)) = document.rsplit_once('.') else { return };
    // Another first letter is other bits of the signature, and canonical base64 as before.
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    *document = format!("{signed}.{other}{}", signature.get(1..).unwrap_or_default());
}
