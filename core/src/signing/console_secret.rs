//! The secret of console sessions, which every replica that has the seal key derives (HKDF, RFC 5869).
//!
//! It is derived from a signature over a fixed label, as the MAC key of rows is: Ed25519 makes the same one every time (RFC 8032 §5.1.6).

use ring::hkdf;

use super::private_key::PrivateKey;
use super::public_key::Algorithm;
use crate::domain::{Error, Result};

/// Is signed to derive the secret. An event signature is over 32 bytes, which this is not, so no event signature ever discloses the
/// secret; and it is not the label of the MAC key of rows.
const LABEL: &[u8] = b"policyhub: the secret of console sessions, version 1";

/// Length of the secret in bytes.
pub const CONSOLE_SECRET_BYTES: usize = 32;

/// Tells `ring` how long the secret is.
struct SecretLength;

impl hkdf::KeyType for SecretLength {
    fn len(&self) -> usize {
        CONSOLE_SECRET_BYTES
    }
}

/// Derives the secret of console sessions.
///
/// # Errors
/// `INTERNAL` when the seal key is not an Ed25519 key.
pub fn derive_console_secret(seal: &PrivateKey) -> Result<[u8; CONSOLE_SECRET_BYTES]> {
    if seal.public().algorithm() != Algorithm::EdDsa {
        return Err(Error::internal("only an Ed25519 key has the same signature every time"));
    }
    let failed = |_| Error::internal("failed to derive a secret");
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(&seal.sign(LABEL)?);
    let mut secret = [0; CONSOLE_SECRET_BYTES];
    extracted.expand(&[LABEL], SecretLength).map_err(failed)?.fill(&mut secret).map_err(failed)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_with_one_seal_key_have_one_secret() {
        let seal = || {
            let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
            PrivateKey::from_pem(&pem).expect("the same key")
        };
        let own = seal();
        let secret = derive_console_secret(&own).expect("a secret");
        assert_eq!(derive_console_secret(&own).expect("a secret"), secret);
        assert_ne!(derive_console_secret(&seal()).expect("a secret"), secret);
    }
}
