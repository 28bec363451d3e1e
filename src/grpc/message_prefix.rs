//! What gRPC says before a message (gRPC over HTTP/2, "Length-Prefixed-Message"), and what is refused by it.

use crate::domain::{Error, Reason};

/// What gRPC puts before a message: a flag, and its length as four bytes.
pub(super) const MESSAGE_PREFIX_BYTES: usize = 5;

/// Refuses what is more or less than one message.
pub(super) fn not_one_message() -> Error {
    Error::new(Reason::InvalidArgument, "the request is not one whole message, framed as gRPC frames it")
}

/// Refuses a message of more than so many bytes.
pub(super) fn too_large(max_bytes: usize) -> Error {
    let message = "the request message is over the limit of this method";
    Error::new(Reason::MessageTooLarge, message).with("limit_bytes", max_bytes)
}

/// A number of bytes, as budgets count them.
pub(super) fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What gRPC says of the message before it.
#[derive(Default)]
pub(super) struct Prefix {
    bytes: [u8; MESSAGE_PREFIX_BYTES],
    seen: usize,
}

impl Prefix {
    /// Takes the next bytes of the body; the length that the message claims, once all of the prefix is there.
    pub(super) fn claim(&mut self, data: &[u8]) -> Option<usize> {
        for (slot, byte) in self.bytes.iter_mut().skip(self.seen).zip(data) {
            *slot = *byte;
            self.seen += 1;
        }
        self.length()
    }

    /// The length that the message claims, once all of the prefix is there.
    pub(super) fn length(&self) -> Option<usize> {
        let [_, length @ ..] = self.bytes;
        let is_whole = self.seen == MESSAGE_PREFIX_BYTES;
        is_whole.then(|| usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }

    /// Whether its flag says that it is compressed.
    pub(super) fn is_compressed(&self) -> bool {
        let [flag, ..] = self.bytes;
        flag == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_seen_however_its_bytes_come() {
        let bytes = [0, 0, 1, 4, 1, 7, 7];
        for cut in 0..bytes.len() {
            let (mut prefix, (first, second)) = (Prefix::default(), bytes.split_at(cut));
            assert_eq!(prefix.claim(first), (cut >= MESSAGE_PREFIX_BYTES).then_some(0x0001_0401), "{cut}");
            assert_eq!(prefix.claim(second), Some(0x0001_0401), "{cut}");
        }
    }
}
