//! How frames are written: Protobuf messages with the prefix of gRPC, ready for the socket.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use crate::api::response;
use crate::domain::bundle::{ActiveBundle, Staleness};
use crate::domain::name::NamespaceId;
use crate::service::{ActivationEnd, Changes, Encode, HeartbeatProof, SnapshotEnd};

/// Compressed flag and length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// Writes the messages of `WatchActive`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wire;

impl Encode for Wire {
    fn activation_part(
        &self,
        namespace: &NamespaceId,
        Changes { at, bundles, tombstones }: Changes<'_>,
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
        framed(&response::activation(namespace, part))
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
        framed(&response::snapshot(namespace, part))
    }

    fn key_statement(&self, statement: String) -> Bytes {
        framed(&response::key_statement(statement))
    }

    fn heartbeat(&self, namespace: &NamespaceId, proven: Option<HeartbeatProof<'_>>, staleness: Staleness) -> Bytes {
        let proven = proven.map(|HeartbeatProof { at, checkpoint, set_proof }| (at, checkpoint, set_proof));
        framed(&response::heartbeat(namespace, proven, staleness))
    }
}

/// A message as it goes into the body of a response.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // Far below 4 GiB: no message is above 2 MiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pb;
    use crate::domain::event::{Cursor, Fingerprint, Position};

    #[test]
    fn a_frame_is_its_length_and_its_message() {
        let at = Position { cursor: Cursor { epoch: 1, revision: 7 }, event: Fingerprint::from_number(9) };
        let staleness = Staleness { degraded: true, in_doubt: false };
        let set_proof = &Bytes::from_static(b"proof");
        let namespace = &NamespaceId::parse("parent", "default").expect("an id");
        let frame = Wire.heartbeat(namespace, Some(HeartbeatProof { at, checkpoint: "token", set_proof }), staleness);
        let (prefix, message) = frame.split_at(PREFIX_BYTES);
        assert_eq!(prefix, [0, 0, 0, 0, u8::try_from(message.len()).expect("short")]);
        let message = pb::WatchActiveResponse::decode(message).expect("a message");
        assert_eq!(message, response::heartbeat(namespace, Some((at, "token", set_proof)), staleness));
    }
}
