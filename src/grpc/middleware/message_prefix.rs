//! The prefix of a message (gRPC over HTTP/2, "Length-Prefixed-Message"), and the errors of messages that do not fit it.

use crate::domain::{Error, Reason};

/// The length of the prefix: a flag, and the length of the message as four bytes.
pub(in crate::grpc) const MESSAGE_PREFIX_BYTES: usize = 5;

/// Returns the error for a body that is not exactly one message.
pub(super) fn not_one_message() -> Error {
    Error::new(Reason::InvalidArgument, "the request is not exactly one message with the prefix of gRPC")
}

/// Returns the error for a message of more than `max_bytes`.
pub(super) fn too_large(max_bytes: usize) -> Error {
    let message = "the request message is over the limit of this method";
    Error::new(Reason::MessageTooLarge, message).with("limit_bytes", max_bytes)
}

/// Returns a number of bytes as budgets count them.
pub(super) fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The prefix of a message, as far as it was received.
#[derive(Default)]
pub(super) struct MessagePrefix {
    bytes: [u8; MESSAGE_PREFIX_BYTES],
    received: usize,
}

impl MessagePrefix {
    /// Adds the next bytes of the body. Returns the length that the prefix claims, once the whole prefix was received.
    pub(super) fn push(&mut self, data: &[u8]) -> Option<usize> {
        for (slot, byte) in self.bytes.iter_mut().skip(self.received).zip(data) {
            *slot = *byte;
            self.received += 1;
        }
        self.claimed_length()
    }

    /// Returns the length that the prefix claims, once the whole prefix was received.
    pub(super) fn claimed_length(&self) -> Option<usize> {
        let [_, length @ ..] = self.bytes;
        let is_whole = self.received == MESSAGE_PREFIX_BYTES;
        is_whole.then(|| usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }

    /// Returns whether the flag marks the message as compressed.
    pub(super) fn is_compressed(&self) -> bool {
        let [flag, ..] = self.bytes;
        flag == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_read_however_its_bytes_arrive() {
        let bytes = [0, 0, 1, 4, 1, 7, 7];
        for cut in 0..bytes.len() {
            let (mut prefix, (first, second)) = (MessagePrefix::default(), bytes.split_at(cut));
            assert_eq!(prefix.push(first), (cut >= MESSAGE_PREFIX_BYTES).then_some(0x0001_0401), "{cut}");
            assert_eq!(prefix.push(second), Some(0x0001_0401), "{cut}");
        }
    }
}
