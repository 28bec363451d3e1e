//! Computes the thumbprint of a public key.

use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::domain::{Error, Result};

/// Returns the RFC 7638 thumbprint of a public key (SHA-256).
pub(super) fn thumbprint(key: &DecodingKey, algorithm: Algorithm) -> Result<String> {
    Jwk::from_decoding_key(key, Some(algorithm))
        .and_then(|jwk| jwk.thumbprint(ThumbprintHash::SHA256))
        .map_err(|error| Error::internal(format!("a public key can't be read: {error}")))
}
