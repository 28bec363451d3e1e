//! Event signatures (`seal` on the wire): Ed25519 over the 32 bytes of an event's hash.
//!
//! The server has a key of its own for them. Even one key for both would be safe: what a token signs is text, longer than
//! 32 bytes, and begins with a header, so that neither can pass for the other.

use super::public_key::{Algorithm, PublicKey};
use crate::domain::digest::Hash;

/// Signs an event's hash. The signature has 64 bytes.
///
/// Errors: `Internal` when the key is not an Ed25519 key.
#[cfg(feature = "server")]
pub fn sign_event_hash(hash: &Hash, key: &super::PrivateKey) -> crate::domain::Result<Vec<u8>> {
    if key.public().algorithm() != Algorithm::EdDsa {
        return Err(crate::domain::Error::internal("only an Ed25519 key can seal events"));
    }
    key.sign(hash)
}

/// Returns whether `seal` is of `hash` and by `key`, an Ed25519 key.
#[must_use]
pub fn verify_event_signature(hash: &Hash, seal: &[u8], key: &PublicKey) -> bool {
    key.algorithm() == Algorithm::EdDsa && key.verify(hash, seal)
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;
    use crate::signing::PrivateKey;

    fn key(algorithm: Algorithm) -> PrivateKey {
        let pem = PrivateKey::generate_pem(algorithm).expect("a key");
        PrivateKey::from_pem(&pem).expect("the same key")
    }

    #[test]
    fn a_seal_holds_for_one_hash_and_one_key() {
        let (own, other) = (key(Algorithm::EdDsa), key(Algorithm::EdDsa));
        let hash = [7; 32];
        let sealed = sign_event_hash(&hash, &own).expect("a seal");
        assert!(verify_event_signature(&hash, &sealed, own.public()));
        assert!(!verify_event_signature(&[8; 32], &sealed, own.public()));
        assert!(!verify_event_signature(&hash, &sealed, other.public()));
        assert!(!verify_event_signature(&hash, &sealed[1..], own.public()));
        assert!(!verify_event_signature(&hash, &[], own.public()));
    }

    #[test]
    fn only_ed25519_seals() {
        let ec = key(Algorithm::Es256);
        assert!(sign_event_hash(&[7; 32], &ec).is_err());
        let signature = ec.sign(&[7; 32]).expect("a signature");
        assert!(!verify_event_signature(&[7; 32], &signature, ec.public()));
    }
}
