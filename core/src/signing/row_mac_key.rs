//! The MAC key of rows: HMAC-SHA256 (RFC 2104), derived (HKDF, RFC 5869) from the key of event signatures.
//!
//! Replicas that share the seal key share it, and the database never has it. It is derived from a signature over a fixed label,
//! which Ed25519 makes the same every time (RFC 8032 §5.1.6), so that a seal key that can't be read out has one too.

use ring::{hkdf, hmac};

use super::hash::digest_of;
use super::private_key::PrivateKey;
use super::public_key::Algorithm;
use crate::domain::digest::{Digest, Hash};
use crate::domain::row_mac::RowMac;
use crate::domain::{Error, Result};

/// Is signed to derive the key. An event signature is over 32 bytes, which this is not, so no event signature ever discloses the key.
const LABEL: &[u8] = b"policyhub: the key under the tags of rows, version 1";

/// The key.
pub struct RowMacKey(hmac::Key);

impl RowMacKey {
    /// Derives it.
    ///
    /// # Errors
    /// `INTERNAL` when the seal key is not an Ed25519 key.
    pub fn derive(seal: &PrivateKey) -> Result<Self> {
        if seal.public().algorithm() != Algorithm::EdDsa {
            return Err(Error::internal("only an Ed25519 key has the same signature every time"));
        }
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, LABEL).extract(&seal.sign(LABEL)?);
        let key = secret.expand(&[LABEL], hmac::HMAC_SHA256);
        Ok(Self(key.map_err(|_| Error::internal("failed to derive a key"))?.into()))
    }
}

impl RowMac for RowMacKey {
    fn mac(&self, row: &[u8]) -> Hash {
        let mut tag = Hash::default();
        tag.copy_from_slice(hmac::sign(&self.0, row).as_ref());
        tag
    }

    fn verify(&self, row: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, row, tag).is_ok()
    }

    fn digest(&self, row: &[u8]) -> Digest {
        digest_of(row)
    }
}

impl std::fmt::Debug for RowMacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowMacKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(algorithm: Algorithm) -> PrivateKey {
        PrivateKey::from_pem(&PrivateKey::generate_pem(algorithm).expect("a key")).expect("the same key")
    }

    #[test]
    fn a_tag_holds_for_one_row_and_one_seal_key() {
        let own = seal(Algorithm::EdDsa);
        let [key, again] = [(); 2].map(|()| RowMacKey::derive(&own).expect("a key"));
        let other = RowMacKey::derive(&seal(Algorithm::EdDsa)).expect("a key");
        let tag = key.mac(b"row");
        assert!(key.verify(b"row", &tag) && again.verify(b"row", &tag), "every replica has the same key");
        assert!(!other.verify(b"row", &tag) && !key.verify(b"rov", &tag));
        assert!(!key.verify(b"row", &[]) && !key.verify(b"row", &tag[1..]));
        assert!(RowMacKey::derive(&seal(Algorithm::Es256)).is_err(), "its signatures differ every time");
        assert_eq!(format!("{key:?}"), "RowMacKey { .. }");
    }
}
