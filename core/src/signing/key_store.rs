//! Where the private signing keys are: the seam behind which files can become a KMS.
//!
//! Boundary: knows which keys it can sign with, never which of them may; that is what the log says. Invariant: nothing but
//! signatures and public halves comes out of it.

use super::public_key::{Algorithm, PublicKey};
use crate::domain::Result;

/// Keys that can sign. Called under the lock of a namespace: a signature must come within milliseconds, or fail. One that
/// asks another machine has to bound its wait below the 2.4 s of a statement.
pub trait KeyStore: Send + Sync + std::fmt::Debug {
    /// Returns whether it can sign with this key.
    fn holds(&self, key_id: &str) -> bool;

    /// Returns a compact JWS of exactly these bytes.
    ///
    /// # Errors
    /// `SIGNING_UNAVAILABLE` when it can't sign with this key now, `INTERNAL`.
    fn sign(&self, key_id: &str, typ: &str, payload: &[u8]) -> Result<String>;

    /// Returns the public halves of all it can sign with. Slow: it looks anew, so that keys that came meanwhile are there.
    ///
    /// # Errors
    /// `SIGNING_UNAVAILABLE` when it can't look.
    fn look(&self) -> Result<Vec<PublicKey>>;

    /// Makes a key and answers its public half. Slow.
    ///
    /// # Errors
    /// `SIGNING_UNAVAILABLE` when it can't make keys.
    fn make(&self, algorithm: Algorithm) -> Result<PublicKey>;
}
