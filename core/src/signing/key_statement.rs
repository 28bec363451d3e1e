//! Key statements: which keys a store signs with from a point of its log on, signed by the key that was active there.
//!
//! Pure. Whether a statement is believed is [`super::PinnedKeys`]'s to decide; here is what it says, and that it is well
//! formed. Invariant: a statement names each key once, has one active key, and the id of each key is its thumbprint.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::VerifyError;
use super::jws::{self, TYP_KEYS};
use super::key_set::KeySet;
use super::object::{self, Object};
use super::public_key::{Jwk, PublicKey};
use crate::domain::digest::Digest;
use crate::domain::key::KeyState;
use crate::domain::limits::{SIGNING_KEYS_MAX, STATED_REVOKED_KEYS_MAX};

/// All keys of a store, as of one event of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    /// Id of the store.
    pub store: String,
    /// The epoch of the store.
    pub epoch: i64,
    /// The revision of the event in the log of `system` that changed a key. Statements are ordered by epoch, then by serial.
    pub serial: i64,
    /// Every key that is not revoked, and the latest that are, at most `STATED_REVOKED_KEYS_MAX` of these.
    pub keys: Vec<StatedKey>,
    /// Digest of the payload of the statement before; none in the first one.
    pub prev: Option<Digest>,
    /// Says when it was signed, in seconds since the Unix epoch.
    pub iat: i64,
}

/// One key of a statement. Times are in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedKey {
    /// RFC 7638 thumbprint.
    pub key_id: String,
    /// Says where it stands.
    pub state: KeyState,
    /// The public key; none of a key that is revoked, since nobody needs it any more.
    pub key: Option<PublicKey>,
    /// Says when it became public.
    pub prepare_time: Option<i64>,
    /// Says when it began to sign.
    pub activate_time: Option<i64>,
    /// Says when another took its place.
    pub retire_time: Option<i64>,
    /// Says when trust in it ended.
    pub revoke_time: Option<i64>,
}

/// A statement as it is written.
#[derive(Serialize)]
struct EncodedStatement<'a> {
    store: &'a str,
    epoch: i64,
    serial: i64,
    keys: Vec<EncodedKey<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev: Option<&'a Digest>,
    iat: i64,
}

#[derive(Serialize)]
struct EncodedKey<'a> {
    kid: &'a str,
    state: KeyState,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwk: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prepare_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activate_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retire_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoke_time: Option<i64>,
}

/// A statement as it is read.
#[derive(Deserialize)]
struct DecodedStatement {
    store: String,
    epoch: i64,
    serial: i64,
    #[serde(deserialize_with = "object::list")]
    keys: Vec<DecodedKey>,
    prev: Option<Digest>,
    iat: i64,
}

#[derive(Deserialize)]
struct DecodedKey {
    kid: String,
    state: KeyState,
    jwk: Option<Object<Jwk>>,
    prepare_time: Option<i64>,
    activate_time: Option<i64>,
    retire_time: Option<i64>,
    revoke_time: Option<i64>,
}

impl KeyStatement {
    /// Returns the bytes to sign.
    ///
    /// # Errors
    /// `INTERNAL`, in theory alone.
    pub fn to_bytes(&self) -> crate::domain::Result<Vec<u8>> {
        let keys = self.keys.iter().map(|key| EncodedKey {
            kid: &key.key_id,
            state: key.state,
            jwk: key.key.as_ref().map(PublicKey::to_jwk),
            prepare_time: key.prepare_time,
            activate_time: key.activate_time,
            retire_time: key.retire_time,
            revoke_time: key.revoke_time,
        });
        let Self { store, epoch, serial, prev, iat, .. } = self;
        let written = EncodedStatement {
            store,
            epoch: *epoch,
            serial: *serial,
            keys: keys.collect(),
            prev: prev.as_ref(),
            iat: *iat,
        };
        serde_json::to_vec(&written).map_err(|error| crate::domain::Error::internal(format!("key statement: {error}")))
    }

    /// Reads signed bytes.
    ///
    /// # Errors
    /// `PayloadMalformed` when they are not a statement; the error of a key that is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VerifyError> {
        let read: DecodedStatement = object::read(bytes).map_err(|_| VerifyError::PayloadMalformed)?;
        let DecodedStatement { store, epoch, serial, keys, prev, iat } = read;
        let keys = keys.into_iter().map(DecodedKey::into_key).collect::<Result<_, _>>()?;
        let statement = Self { store, epoch, serial, keys, prev, iat };
        if statement.is_well_formed() { Ok(statement) } else { Err(VerifyError::PayloadMalformed) }
    }

    /// Verifies the signature by one of these keys, and reads what it covers. With it, the id of the key that signed.
    ///
    /// # Errors
    /// Those of [`jws::verify`] and [`Self::from_bytes`].
    pub fn verify(token: &str, keys: &KeySet) -> Result<(Self, String, Vec<u8>), VerifyError> {
        let jws::Verified { payload, key_id } = jws::verify(token, TYP_KEYS, keys)?;
        Ok((Self::from_bytes(&payload)?, key_id, payload))
    }

    /// Returns what it says of a key.
    #[must_use]
    pub fn key(&self, key_id: &str) -> Option<&StatedKey> {
        self.keys.iter().find(|key| key.key_id == key_id)
    }

    fn is_well_formed(&self) -> bool {
        let count = |state| self.keys.iter().filter(|key| key.state == state).count();
        let revoked = count(KeyState::Revoked);
        let names: BTreeSet<&str> = self.keys.iter().map(|key| key.key_id.as_str()).collect();
        self.epoch >= 0
            && self.serial >= 1
            && count(KeyState::Active) == 1
            && revoked <= STATED_REVOKED_KEYS_MAX
            && self.keys.len() - revoked <= SIGNING_KEYS_MAX
            && names.len() == self.keys.len()
    }
}

impl DecodedKey {
    fn into_key(self) -> Result<StatedKey, VerifyError> {
        let key = self.jwk.map(|jwk| jwk.0.into_key()).transpose()?;
        // A key that may verify something is there, and is the one that its id names.
        let is_named = match &key {
            Some(key) => key.key_id() == self.kid,
            None => self.state == KeyState::Revoked,
        };
        if !is_named {
            return Err(VerifyError::KeyIdMismatch);
        }
        let Self { kid, state, prepare_time, activate_time, retire_time, revoke_time, .. } = self;
        Ok(StatedKey { key_id: kid, state, key, prepare_time, activate_time, retire_time, revoke_time })
    }
}
