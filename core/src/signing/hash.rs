//! The hashes of the product, all SHA-256 (FIPS 180-4).
//!
//! Each has one fixed framing, so that two different inputs never hash the same bytes.

use ring::digest::{Context, SHA256};

use crate::domain::digest::{Digest, Hash};
use crate::domain::name::PolicyId;

/// Returns the SHA-256 over the parts, one after the other. The caller makes sure that their lengths can't shift.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

/// Returns the digest of exact bytes.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_sha256(&sha256(&[bytes]))
}

/// Returns the hash of an event: SHA-256 over the hash of the event before (32 bytes) and the event's exact payload bytes.
#[must_use]
pub fn event_hash(prev: &Hash, payload: &[u8]) -> Hash {
    sha256(&[prev, payload])
}

/// Returns the digest of an active set: SHA-256 over one line `{policy}\t{version}\t{digest}\n` for each active policy.
///
/// `active` must come in the byte order of the policy ids, each at most once; ids hold neither tab nor newline.
#[must_use]
pub fn active_set_digest<'a>(active: impl IntoIterator<Item = (&'a PolicyId, i64, &'a Digest)>) -> Digest {
    let mut context = Context::new(&SHA256);
    let mut before: Option<&PolicyId> = None;
    for (policy, version, digest) in active {
        debug_assert!(before.is_none_or(|before| before.as_str() < policy.as_str()), "{policy} is out of order");
        before = Some(policy);
        context.update(format!("{policy}\t{version}\t{digest}\n").as_bytes());
    }
    Digest::from_sha256(&finish(context))
}

/// The digest of bytes that come piece by piece.
#[derive(Clone)]
pub struct Running(Context);

impl Running {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all of them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::from_sha256(&finish(self.0.clone()))
    }
}

impl Default for Running {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running")
    }
}

fn finish(context: Context) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::digest::hex;

    #[test]
    fn sha256_is_the_standard_one() {
        // FIPS 180-4, examples "abc" and the empty message.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(&[b"a", b"", b"bc"])), abc);
        assert_eq!(digest_of(b"abc").as_str(), format!("sha256:{abc}"));
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(active_set_digest([]).as_str(), empty);
    }

    #[test]
    fn an_active_set_is_hashed_line_by_line() {
        let [a, b] = ["a", "a-b"].map(|id| PolicyId::parse("policy", id).expect("an id"));
        let [one, two] = [&b"1"[..], b"2"].map(digest_of);
        let whole = digest_of(format!("a\t1\t{one}\na-b\t20\t{two}\n").as_bytes());
        assert_eq!(active_set_digest([(&a, 1, &one), (&b, 20, &two)]), whole);
        assert_ne!(active_set_digest([(&a, 12, &one), (&b, 0, &two)]), whole);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "out of order")]
    fn a_policy_named_twice_is_a_defect() {
        let id = PolicyId::parse("policy", "a").expect("an id");
        let digest = digest_of(b"1");
        let _ = active_set_digest([(&id, 1, &digest), (&id, 2, &digest)]);
    }

    #[test]
    fn an_event_depends_on_the_one_before() {
        assert_ne!(event_hash(&[0; 32], b"payload"), event_hash(&[1; 32], b"payload"));
        assert_eq!(event_hash(&[7; 32], b"payload"), sha256(&[&[7; 32], b"payload"]));
    }
}
