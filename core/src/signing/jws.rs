//! Compact JWS (RFC 7515) in the one shape that is used here: the header is exactly `alg`, `kid` and `typ`.
//!
//! Payloads are bytes and stay bytes: nothing is re-written between signing and verifying. Every bound is checked before
//! anything is decoded. Invariant: what `sign` writes, `verify` takes, and nothing a header says chooses a key's algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::error::VerifyError;
use super::key_set::KeySet;
use super::object;
use super::public_key::Algorithm;
use crate::domain::limits::{JWS_HEADER_MAX_BYTES, STATEMENT_MAX_BYTES};

/// `typ` of a bundle's manifest.
pub const TYP_BUNDLE: &str = "policyhub-bundle+jws";
/// `typ` of an activation's statement.
pub const TYP_ACTIVATION: &str = "policyhub-activation+jws";
/// `typ` of a checkpoint.
pub const TYP_CHECKPOINT: &str = "policyhub-checkpoint+jws";
/// `typ` of the manifest of a draft that is served as a preview.
pub const TYP_PREVIEW: &str = "policyhub-preview+jws";
/// `typ` of a key statement.
pub const TYP_KEYS: &str = "policyhub-keys+jws";

/// Both algorithms have signatures of this length.
const SIGNATURE_BYTES: usize = 64;

/// Holds what a signature covered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The exact bytes that were signed.
    pub payload: Vec<u8>,
    /// Id of the key that signed them.
    pub key_id: String,
}

/// The whole header. Refusing every other member refuses `crit`, `b64`, `zip`, `jwk`, `jku`, `x5u` and `x5c`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Signs exact bytes.
///
/// Errors: `Internal` when the payload is over `limits::STATEMENT_MAX_BYTES`, which no verifier would take.
#[cfg(feature = "server")]
pub fn sign(typ: &str, payload: &[u8], key: &super::PrivateKey) -> crate::domain::Result<String> {
    use crate::domain::Error;
    if payload.len() > STATEMENT_MAX_BYTES {
        return Err(Error::internal(format!("payload of {typ} has {} bytes", payload.len())));
    }
    let mut token = head(typ, key.public())?;
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let signature = key.sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// Returns what every token of this `typ` and key begins with: the header and its dot.
///
/// Errors: `Internal`, in theory alone.
#[cfg(feature = "server")]
pub fn head(typ: &str, key: &super::PublicKey) -> crate::domain::Result<String> {
    let header = Header { alg: key.algorithm().as_str().to_owned(), kid: key.key_id().to_owned(), typ: typ.to_owned() };
    let header = serde_json::to_vec(&header)
        .map_err(|error| crate::domain::Error::internal(format!("header of {typ}: {error}")))?;
    let mut head = URL_SAFE_NO_PAD.encode(header);
    head.push('.');
    Ok(head)
}

/// Returns the key a token names, unverified; none when its header can't be read.
#[must_use]
pub fn named_key(token: &str) -> Option<String> {
    let (header, _) = token.split_once('.')?;
    let header = decode(header, JWS_HEADER_MAX_BYTES, VerifyError::HeaderTooLarge).ok()?;
    object::read::<Header>(&header).ok().map(|header| header.kid)
}

/// Verifies a token of exactly this `typ` by one of these keys.
pub fn verify(token: &str, typ: &str, keys: &KeySet) -> Result<Verified, VerifyError> {
    let mut parts = token.splitn(4, '.');
    let (Some(header_part), Some(payload_part), Some(signature_part), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(VerifyError::TokenMalformed);
    };
    let header = decode(header_part, JWS_HEADER_MAX_BYTES, VerifyError::HeaderTooLarge)?;
    let header: Header = object::read(&header).map_err(|_| VerifyError::HeaderMalformed)?;
    if header.typ != typ {
        return Err(VerifyError::TypeMismatch);
    }
    let algorithm = Algorithm::parse(&header.alg)?;
    let unknown = || if keys.is_revoked(&header.kid) { VerifyError::KeyRevoked } else { VerifyError::KeyUnknown };
    let key = keys.get(&header.kid).ok_or_else(unknown)?;
    if key.algorithm() != algorithm {
        return Err(VerifyError::AlgorithmMismatch);
    }
    let payload = decode(payload_part, STATEMENT_MAX_BYTES, VerifyError::PayloadTooLarge)?;
    let signature = decode(signature_part, SIGNATURE_BYTES, VerifyError::SignatureInvalid)?;
    let signed = token.get(..header_part.len() + 1 + payload_part.len()).ok_or(VerifyError::TokenMalformed)?;
    if !key.verify(signed.as_bytes(), &signature) {
        return Err(VerifyError::SignatureInvalid);
    }
    Ok(Verified { payload, key_id: header.kid })
}

/// Decodes canonical base64url that holds at most `max_bytes`, or answers `too_large` without looking at it.
fn decode(part: &str, max_bytes: usize, too_large: VerifyError) -> Result<Vec<u8>, VerifyError> {
    if part.len() > (max_bytes * 4).div_ceil(3) {
        return Err(too_large);
    }
    URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::Base64Malformed)
}

#[cfg(test)]
#[cfg(feature = "server")]
mod tests {
    use super::*;
    use crate::signing::PrivateKey;

    const TYPS: [&str; 5] = [TYP_BUNDLE, TYP_ACTIVATION, TYP_CHECKPOINT, TYP_PREVIEW, TYP_KEYS];

    fn key(algorithm: Algorithm) -> (PrivateKey, KeySet) {
        let pem = PrivateKey::generate_pem(algorithm).expect("a key");
        let key = PrivateKey::from_pem(&pem).expect("the same key");
        let keys = KeySet::from_keys(vec![key.public().clone()]);
        (key, keys)
    }

    #[test]
    fn what_is_signed_verifies_for_its_own_typ_alone() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256] {
            let (key, keys) = key(algorithm);
            for signed in TYPS {
                let token = sign(signed, b"\x00 any bytes \xff", &key).expect("a token");
                for expected in TYPS {
                    let result = verify(&token, expected, &keys);
                    if signed == expected {
                        let verified = result.expect("its own typ");
                        assert_eq!(verified.payload, b"\x00 any bytes \xff");
                        assert_eq!(verified.key_id, key.public().key_id());
                    } else {
                        assert_eq!(result, Err(VerifyError::TypeMismatch));
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_payload_is_taken_on_both_sides_and_no_larger_one() {
        let (key, keys) = key(Algorithm::EdDsa);
        let largest = vec![b'a'; STATEMENT_MAX_BYTES];
        let token = sign(TYP_BUNDLE, &largest, &key).expect("a token");
        assert_eq!(verify(&token, TYP_BUNDLE, &keys).map(|verified| verified.payload), Ok(largest.clone()));
        let over = [largest, vec![b'a']].concat();
        assert!(sign(TYP_BUNDLE, &over, &key).is_err());
        let header = token.split('.').next().expect("a header");
        let forged = format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(&over));
        assert_eq!(verify(&forged, TYP_BUNDLE, &keys), Err(VerifyError::PayloadTooLarge));
    }

    #[test]
    fn a_header_is_bounded_before_it_is_decoded() {
        let keys = KeySet::default();
        let not_even_base64 = "*".repeat((JWS_HEADER_MAX_BYTES * 4).div_ceil(3));
        let verify_header = |header: &str| verify(&format!("{header}.AAAA.AAAA"), TYP_BUNDLE, &keys);
        assert_eq!(verify_header(&not_even_base64), Err(VerifyError::Base64Malformed));
        assert_eq!(verify_header(&format!("{not_even_base64}*")), Err(VerifyError::HeaderTooLarge));
    }

    #[test]
    fn another_key_does_not_verify() {
        let (key_a, _) = key(Algorithm::EdDsa);
        let (_, keys_b) = key(Algorithm::EdDsa);
        let token = sign(TYP_BUNDLE, b"{}", &key_a).expect("a token");
        assert_eq!(verify(&token, TYP_BUNDLE, &keys_b), Err(VerifyError::KeyUnknown));
    }
}
