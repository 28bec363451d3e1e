//! The certificate that a client shows.

use std::fmt;

/// A client certificate and its key, both PEM. `Debug` shows neither.
#[derive(Clone)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The chain, leaf first.
    pub cert: Vec<u8>,
    /// PKCS#8, PKCS#1 or SEC 1.
    pub key: Vec<u8>,
}

impl ClientIdentity {
    /// Takes a certificate with its chain, leaf first, and its key in PKCS#8, PKCS#1 or SEC 1. Both are PEM.
    #[must_use]
    pub fn new(cert: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self { cert: cert.into(), key: key.into() }
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}
