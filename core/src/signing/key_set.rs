//! The public keys a verifier knows, as a JWK Set (RFC 7517 §5).
//!
//! Invariant: keys are found by thumbprint in memory alone; a `kid` is never a path, a query or an address.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::VerifyError;
use super::object;
use super::public_key::{Jwk, PublicKey};

/// Largest JWKS that is read.
pub const JWKS_MAX_BYTES: usize = 64 * 1024;
/// Most keys of a JWKS that is read.
pub const JWKS_MAX_KEYS: usize = 20;

/// Public keys by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    by_id: BTreeMap<String, PublicKey>,
    /// Keys that were known, and whose signatures prove nothing any more.
    revoked: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Jwks {
    #[serde(deserialize_with = "object::list")]
    keys: Vec<Jwk>,
}

impl KeySet {
    /// Returns the set of these keys; a key given twice is there once.
    #[must_use]
    pub fn from_keys(keys: Vec<PublicKey>) -> Self {
        let by_id = keys.into_iter().map(|key| (key.key_id().to_owned(), key)).collect();
        Self { by_id, revoked: BTreeSet::new() }
    }

    /// Ends trust in keys by their ids: they are not in the set, whatever else says so, and refused by that name.
    #[must_use]
    pub fn without(mut self, revoked: impl IntoIterator<Item = String>) -> Self {
        self.revoked.extend(revoked);
        self.by_id.retain(|key_id, _| !self.revoked.contains(key_id));
        self
    }

    /// Returns whether trust in a key ended.
    #[must_use]
    pub fn is_revoked(&self, key_id: &str) -> bool {
        self.revoked.contains(key_id)
    }

    /// Reads a JWKS. One key that is not taken refuses the whole set, with the reason of that key.
    pub fn parse_jwks(bytes: &[u8]) -> Result<Self, VerifyError> {
        if bytes.len() > JWKS_MAX_BYTES {
            return Err(VerifyError::KeySetTooLarge);
        }
        let jwks: Jwks = object::read(bytes).map_err(|_| VerifyError::KeySetMalformed)?;
        if jwks.keys.len() > JWKS_MAX_KEYS {
            return Err(VerifyError::KeySetTooLarge);
        }
        jwks.keys.into_iter().map(Jwk::into_key).collect::<Result<_, _>>().map(Self::from_keys)
    }

    /// Returns the key with this id.
    #[must_use]
    pub fn get(&self, key_id: &str) -> Option<&PublicKey> {
        self.by_id.get(key_id)
    }

    /// Returns all keys, in the order of their ids.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &PublicKey> {
        self.by_id.values()
    }

    /// Returns the JWKS, keys in the order of their ids.
    #[must_use]
    pub fn to_jwks(&self) -> Value {
        json!({"keys": self.keys().map(PublicKey::to_jwk).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::Algorithm;

    fn key(first: u8) -> PublicKey {
        PublicKey::from_raw(Algorithm::EdDsa, [vec![first], vec![7; 31]].concat())
    }

    fn jwks(keys: &[Value]) -> Vec<u8> {
        json!({"keys": keys}).to_string().into_bytes()
    }

    #[test]
    fn a_set_survives_writing_and_reading() {
        let set = KeySet::from_keys(vec![key(1), key(2), key(1)]);
        assert_eq!(set.keys().len(), 2);
        assert_eq!(KeySet::parse_jwks(set.to_jwks().to_string().as_bytes()).as_ref(), Ok(&set));
        assert_eq!(set.get(key(2).key_id()), Some(&key(2)));
        assert_eq!(set.get("../keys/1"), None);
        assert_eq!(KeySet::parse_jwks(br#"{"keys":[]}"#), Ok(KeySet::default()));
    }

    #[test]
    fn a_revoked_key_is_not_in_the_set() {
        let set = KeySet::from_keys(vec![key(1), key(2)]).without([key(1).key_id().to_owned()]);
        assert_eq!(set.get(key(1).key_id()), None);
        assert!(set.is_revoked(key(1).key_id()) && !set.is_revoked(key(2).key_id()));
        assert_eq!(set.to_jwks(), KeySet::from_keys(vec![key(2)]).to_jwks());
    }

    #[test]
    fn a_set_is_bounded() {
        let most: Vec<Value> = (0..20).map(|first| key(first).to_jwk()).collect();
        assert_eq!(KeySet::parse_jwks(&jwks(&most)).map(|set| set.keys().len()), Ok(JWKS_MAX_KEYS));
        let over: Vec<Value> = (0..21).map(|first| key(first).to_jwk()).collect();
        assert_eq!(KeySet::parse_jwks(&jwks(&over)), Err(VerifyError::KeySetTooLarge));
        let mut long = br#"{"keys":[]}"#.to_vec();
        long.resize(JWKS_MAX_BYTES, b' ');
        assert!(KeySet::parse_jwks(&long).is_ok());
        long.push(b' ');
        assert_eq!(KeySet::parse_jwks(&long), Err(VerifyError::KeySetTooLarge));
    }

    #[test]
    fn one_bad_key_refuses_the_set() {
        let secret = json!({"kty": "oct", "k": "AAAA"});
        assert_eq!(KeySet::parse_jwks(&jwks(&[key(1).to_jwk(), secret])), Err(VerifyError::KeyUnsupported));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, r#"{"keys":[["OKP"]]}"#] {
            assert_eq!(KeySet::parse_jwks(text.as_bytes()), Err(VerifyError::KeySetMalformed), "{text}");
        }
        let twice = r#"{"keys":[{"kty":"OKP","kty":"EC","crv":"Ed25519"}]}"#;
        assert_eq!(KeySet::parse_jwks(twice.as_bytes()), Err(VerifyError::KeySetMalformed));
    }
}
