//! The keys of all targets: those of the golden vectors, so that an input has the same effect in every run.

use std::sync::LazyLock;

use policyhub::signing::{KeySet, PrivateKey};

/// The PEM of the key that signs.
pub const SIGNER_PEM: &str = include_str!("../../../tests/vectors/keys/ed25519-v1.pem");
const OTHER_PEM: &str = include_str!("../../../tests/vectors/keys/ed25519-v2.pem");
const P256_PEM: &str = include_str!("../../../tests/vectors/keys/p256.pem");

/// Signs honest documents.
pub static SIGNER: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_pem(SIGNER_PEM).expect("a key"));
/// Signs too, but is not trusted.
pub static STRANGER: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_pem(OTHER_PEM).expect("a key"));
/// Signs with ES256.
pub static P256: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_pem(P256_PEM).expect("a key"));
/// The keys that are trusted.
pub static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::from_keys(vec![SIGNER.public().clone(), P256.public().clone()]));
