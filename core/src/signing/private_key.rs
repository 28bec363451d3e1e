//! Private keys: PKCS#8 PEM (RFC 7468 §10, RFC 5958) in, signatures out.
//!
//! The parsed key pair is kept, since parsing costs as much as signing. Invariant: nothing in here prints a secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use super::public_key::{Algorithm, PublicKey};
use crate::domain::{Error, Result};

/// A key that signs.
pub struct PrivateKey {
    pair: KeyPair,
    public: PublicKey,
    random: SystemRandom,
}

enum KeyPair {
    EdDsa(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
const PEM_LINE_CHARS: usize = 64;
const ED25519_SEED_BYTES: usize = 32;
/// A `PrivateKeyInfo` of version 1 up to the seed (RFC 8410 §7): the form that every reader knows.
const ED25519_PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

impl PrivateKey {
    /// Makes a key, as PKCS#8 PEM that `from_pem` and openssl read.
    ///
    /// Errors: `Internal` when the system has no randomness to give.
    pub fn generate_pem(algorithm: Algorithm) -> Result<Zeroizing<String>> {
        let random = SystemRandom::new();
        let failed = |_| Error::internal("failed to make a key: no randomness");
        let der = match algorithm {
            Algorithm::EdDsa => {
                let mut seed = Zeroizing::new([0; ED25519_SEED_BYTES]);
                random.fill(seed.as_mut_slice()).map_err(failed)?;
                Zeroizing::new([ED25519_PKCS8_PREFIX.as_slice(), seed.as_slice()].concat())
            }
            Algorithm::Es256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                Zeroizing::new(document.map_err(failed)?.as_ref().to_vec())
            }
        };
        Ok(pem(&der))
    }

    /// Reads one PKCS#8 PEM block: Ed25519 of version 1 or 2, or P-256 with its public key.
    ///
    /// Errors: `InvalidArgument` about the field `key`, saying what to do; never with any of the text.
    pub fn from_pem(text: &str) -> Result<Self> {
        let der = der(text)?;
        let random = SystemRandom::new();
        let pair = if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            KeyPair::EdDsa(pair)
        } else if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random) {
            KeyPair::Es256(pair)
        } else {
            return Err(Error::invalid("key", "is neither an Ed25519 nor a P-256 key in PKCS#8"));
        };
        let public = match &pair {
            KeyPair::EdDsa(pair) => PublicKey::from_raw(Algorithm::EdDsa, pair.public_key().as_ref().to_vec()),
            KeyPair::Es256(pair) => PublicKey::from_raw(Algorithm::Es256, pair.public_key().as_ref().to_vec()),
        };
        Ok(Self { pair, public, random })
    }

    /// Signs a message. The signature has 64 bytes, for ES256 r and s side by side (RFC 7518 §3.4).
    ///
    /// Errors: `Internal` when ES256 gets no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        match &self.pair {
            KeyPair::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            KeyPair::Es256(pair) => pair
                .sign(&self.random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Error::internal("failed to sign: no randomness")),
        }
    }

    /// Returns its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("key_id", &self.public.key_id()).finish_non_exhaustive()
    }
}

fn pem(der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Reserve the whole capacity first: a string that grows leaves copies of the secret in memory.
    let mut text = Zeroizing::new(String::with_capacity(2 * body.len() + PEM_BEGIN.len() + PEM_END.len()));
    text.push_str(PEM_BEGIN);
    text.push('\n');
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % PEM_LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push('\n');
    text.push_str(PEM_END);
    text.push('\n');
    text
}

fn der(text: &str) -> Result<Zeroizing<Vec<u8>>> {
    let refuse = |what: &str| Err(Error::invalid("key", what));
    let text = text.trim();
    let Some(body) = text.strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END)) else {
        return refuse(if text.contains("ENCRYPTED") {
            "is encrypted; decrypt it with openssl pkey"
        } else if text.contains("BEGIN EC P") {
            "is not PKCS#8; convert it with openssl pkcs8 -topk8 -nocrypt"
        } else {
            "is not one PEM block PRIVATE KEY"
        });
    };
    let mut letters = Zeroizing::new(String::with_capacity(body.len()));
    letters.extend(body.split_ascii_whitespace());
    let der = STANDARD.decode(letters.as_bytes()).map(Zeroizing::new);
    der.or_else(|_| refuse("is not base64 between its PEM lines"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_is_read_back_and_signs() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let pem = PrivateKey::generate_pem(algorithm).expect("a key");
            assert!(pem.lines().all(|line| line.len() <= PEM_LINE_CHARS) && pem.ends_with("-----\n"));
            let key = PrivateKey::from_pem(&pem).expect("the same key");
            assert_eq!(key.public().algorithm(), algorithm);
            let signature = key.sign(b"message").expect("a signature");
            assert_eq!(signature.len(), 64);
            assert!(key.public().verify(b"message", &signature));
            assert!(!key.public().verify(b"massage", &signature));
            assert_ne!(pem, PrivateKey::generate_pem(algorithm).expect("another key"));
        }
    }

    #[test]
    fn both_versions_of_an_ed25519_key_are_read() {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let two = PrivateKey::from_pem(&pem(document.as_ref())).expect("version 2");
        let seed = &document.as_ref()[16..48];
        let one = PrivateKey::from_pem(&pem(&[&ED25519_PKCS8_PREFIX, seed].concat())).expect("version 1");
        assert_eq!(one.public(), two.public());
    }

    #[test]
    fn a_printed_key_shows_no_secret() {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let key = PrivateKey::from_pem(&pem).expect("the same key");
        assert_eq!(format!("{key:?}"), format!("PrivateKey {{ key_id: {:?}, .. }}", key.public().key_id()));
    }

    #[test]
    fn other_texts_are_refused_with_advice() {
        let good = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        for (text, advice) in [
            (String::new(), "one PEM block"),
            (good.replace("PRIVATE", "PUBLIC"), "one PEM block"),
            (good.replace("PRIVATE", "EC PRIVATE"), "pkcs8 -topk8"),
            (good.replace("PRIVATE", "ENCRYPTED PRIVATE"), "is encrypted"),
            ([good.as_str(), good.as_str()].concat(), "not base64"),
            (pem(b"not a key").to_string(), "neither an Ed25519 nor a P-256"),
        ] {
            let error = PrivateKey::from_pem(&text).expect_err("not a key");
            assert!(error.message.contains(advice), "{}: {advice}", error.message);
        }
    }
}
