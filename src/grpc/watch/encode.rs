//! Encodes the messages of watches, with the prefix of gRPC, ready for the socket.

use bytes::Bytes;

use crate::api::response;
use crate::domain::bundle::{ActiveBundle, Staleness};
use crate::domain::name::NamespaceId;
use crate::domain::watch_message::{ActivationChanges, ActivationEnd, HeartbeatProof, SnapshotEnd};
use crate::grpc::frame_message::frame_message;
use crate::service::Encode;

/// Encodes the messages of `WatchActive`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchEncoder;

impl Encode for WatchEncoder {
    fn activation_part(
        &self,
        namespace: &NamespaceId,
        changes: ActivationChanges<'_>,
        metadata_only: bool,
        end: Option<ActivationEnd<'_>>,
    ) -> Bytes {
        frame_message(&response::activation(namespace, changes, metadata_only, end))
    }

    fn snapshot_part(
        &self,
        namespace: &NamespaceId,
        bundles: &[ActiveBundle],
        metadata_only: bool,
        end: Option<SnapshotEnd<'_>>,
    ) -> Bytes {
        frame_message(&response::snapshot(namespace, bundles, metadata_only, end))
    }

    fn key_statement(&self, statement: String) -> Bytes {
        frame_message(&response::key_statement(statement))
    }

    fn heartbeat(&self, namespace: &NamespaceId, proven: Option<HeartbeatProof<'_>>, staleness: Staleness) -> Bytes {
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
        let proven = Some(HeartbeatProof { at, checkpoint: "token", set_proof });
        let frame = WatchEncoder.heartbeat(namespace, proven, staleness);
        let (prefix, message) = frame.split_at(MESSAGE_PREFIX_BYTES);
        assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(message.len()).expect("short")]);
        let message = pb::WatchActiveResponse::decode(message).expect("a message");
        assert_eq!(message, response::heartbeat(namespace, proven, staleness));
    }
}
