//! Encodes the messages of watches, with the prefix of gRPC, ready for the socket.

use bytes::Bytes;

use crate::api::response;
use crate::domain::bundle::{ActiveBundle, Staleness};
use crate::domain::name::NamespaceId;
use crate::grpc::frame_message::frame_message;
use crate::service::{ActivationChanges, ActivationEnd, Encode, HeartbeatProof, SnapshotEnd};

/// Encodes the messages of `WatchActive`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchEncoder;

impl Encode for WatchEncoder {
    fn activation_part(
        &self,
        namespace: &NamespaceId,
        ActivationChanges { at, bundles, tombstones }: ActivationChanges<'_>,
        metadata_only: bool,
        end: Option<ActivationEnd<'_>>,
    ) -> Bytes {
        let mut part = response::activation_part(namespace, at, bundles, tombstones, metadata_only);
        if let Some(ActivationEnd { activation, set_proof }) = end {
            part.complete = true;
            part.cursor = Some(response::cursor(activation.head()));
            part.statement = activation.statement.to_string();
            part.set_proof = set_proof.clone();
        }
        frame_message(&response::activation(namespace, part))
    }

    fn snapshot_part(
        &self,
        namespace: &NamespaceId,
        bundles: &[ActiveBundle],
        metadata_only: bool,
        end: Option<SnapshotEnd<'_>>,
    ) -> Bytes {
        let mut part = response::snapshot_part(bundles, metadata_only);
        if let Some(end) = end {
            part.complete = true;
            part.cursor = Some(response::cursor(end.head));
            part.checkpoint = end.checkpoint.to_owned();
            part.set_proof = end.set_proof.clone();
        }
        frame_message(&response::snapshot(namespace, part))
    }

    fn key_statement(&self, statement: String) -> Bytes {
        frame_message(&response::key_statement(statement))
    }

    fn heartbeat(&self, namespace: &NamespaceId, proven: Option<HeartbeatProof<'_>>, staleness: Staleness) -> Bytes {
        let proven = proven.map(|HeartbeatProof { at, checkpoint, set_proof }| (at, checkpoint, set_proof));
        frame_message(&response::heartbeat(namespace, proven, staleness))
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::api::pb;
    use crate::domain::event::{Cursor, Fingerprint, Position};
    use crate::grpc::middleware::MESSAGE_PREFIX_BYTES;

    #[test]
    fn a_frame_is_its_length_and_its_message() {
        let at = Position { cursor: Cursor { epoch: 1, revision: 7 }, event: Fingerprint::from_number(9) };
        let staleness = Staleness { degraded: true, in_doubt: false };
        let set_proof = &Bytes::from_static(b"proof");
        let namespace = &NamespaceId::parse("parent", "default").expect("an id");
        let frame =
            WatchEncoder.heartbeat(namespace, Some(HeartbeatProof { at, checkpoint: "token", set_proof }), staleness);
        let (prefix, message) = frame.split_at(MESSAGE_PREFIX_BYTES);
        assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(message.len()).expect("short")]);
        let message = pb::WatchActiveResponse::decode(message).expect("a message");
        assert_eq!(message, response::heartbeat(namespace, Some((at, "token", set_proof)), staleness));
    }
}
