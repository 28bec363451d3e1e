//! Encodes a message with the prefix of gRPC (gRPC over HTTP/2, "Length-Prefixed-Message").

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;

use super::middleware::MESSAGE_PREFIX_BYTES;

/// Encodes a message with its prefix, ready for the body of a response.
pub(super) fn frame_message(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(MESSAGE_PREFIX_BYTES + length);
    // The message is not compressed.
    frame.put_u8(0);
    // No message is larger than 2 MiB, so the length always fits.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut frame);
    frame.freeze()
}
