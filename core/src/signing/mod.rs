//! Who says so: keys, compact JWS, and the verification of everything that is signed.
//!
//! Boundary: imports only `domain`. Never sees the network, the database or a clock; key files are its only I/O.
//! What holds private keys needs the feature `server`; what verifies is part of the SDK.
//! Invariant: a payload is read only after its signature verified, and from the very bytes that were signed.

mod active_set;
pub mod archive;
mod certificate;
pub mod chain;
#[cfg(feature = "server")]
mod console_secret;
mod error;
mod hash;
pub mod jws;
#[cfg(feature = "server")]
mod key_dirs;
#[cfg(feature = "server")]
pub mod key_file;
mod key_set;
mod key_statement;
#[cfg(feature = "server")]
mod key_store;
mod object;
pub mod payload;
mod pinned_keys;
#[cfg(feature = "server")]
mod private_key;
mod public_key;
#[cfg(feature = "server")]
mod row_mac_key;
mod seal;
mod verify;

pub use active_set::{ActiveLeaf, ActiveSetTree, EMPTY_ROOT, SetProofError, active_set_root, verify_set_proof};
pub use certificate::CertificateFacts;
#[cfg(feature = "server")]
pub use console_secret::derive_console_secret;
pub use error::VerifyError;
pub use hash::{Running, active_set_digest, digest_of, event_hash, sha256};
pub use jws::{TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, TYP_KEYS, TYP_PREVIEW};
#[cfg(feature = "server")]
pub use key_dirs::{KeyDirs, not_held};
pub use key_set::{JWKS_MAX_BYTES, JWKS_MAX_KEYS, KeySet};
pub use key_statement::{KeyStatement, StatedKey};
#[cfg(feature = "server")]
pub use key_store::KeyStore;
pub use pinned_keys::{PinnedKeys, SavedPins};
#[cfg(feature = "server")]
pub use private_key::PrivateKey;
pub use public_key::{Algorithm, PublicKey};
#[cfg(feature = "server")]
pub use row_mac_key::RowMacKey;
#[cfg(feature = "server")]
pub use seal::sign_event_hash;
pub use seal::verify_event_signature;
pub use verify::{
    CHECKPOINT_MAX_SKEW_SECONDS, check_time, read_checkpoint, verify_bundle, verify_checkpoint, verify_statement,
};
