//! Signing keys.

use crate::api::page::first_that_fit;
use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::key::{KeyInfo, KeyPurpose, KeyState, SIGNING_KEYS};
use crate::domain::limits::MESSAGE_MAX_BYTES;

/// Bytes of ListSigningKeys for keys: some 2,000 keys; those that are not revoked are the first 20.
const KEYS_MAX_BYTES: usize = 1024 * 1024;
/// Bytes of ListSigningKeys for key statements.
const KEY_STATEMENTS_MAX_BYTES: usize = MESSAGE_MAX_BYTES - KEYS_MAX_BYTES - 4 * 1024;

/// Returns the answer of ListSigningKeys: the keys and key statements of a store, as many as fit.
#[must_use]
pub fn signing_keys(store: String, keys: Vec<KeyInfo>, key_statements: Vec<String>) -> pb::ListSigningKeysResponse {
    let keys = first_that_fit(keys.into_iter().map(signing_key).collect(), KEYS_MAX_BYTES);
    // When not all fit, the newest ones are kept: they lead from the keys of the latest rotations to the current one.
    let newest_first = key_statements.into_iter().rev().collect();
    let mut key_statements = first_that_fit(newest_first, KEY_STATEMENTS_MAX_BYTES);
    key_statements.reverse();
    pb::ListSigningKeysResponse { keys, store, key_statements }
}

/// Writes a key. The seal key has no times.
pub(super) fn signing_key(from: KeyInfo) -> pb::SigningKey {
    let prepare_time = from.prepare_time();
    let KeyInfo { record, purpose, ready_time } = from;
    let state = match record.state {
        KeyState::Prepared => pb::KeyState::Prepared,
        KeyState::Active => pb::KeyState::Active,
        KeyState::Retired => pb::KeyState::Retired,
        KeyState::Revoked => pb::KeyState::Revoked,
    };
    let purpose = match purpose {
        KeyPurpose::Bundle => pb::KeyPurpose::Bundle,
        KeyPurpose::Seal => pb::KeyPurpose::Seal,
    };
    pb::SigningKey {
        name: format!("{SIGNING_KEYS}/{}", record.key_id),
        algorithm: record.algorithm,
        purpose: purpose.into(),
        state: state.into(),
        jwk: record.jwk,
        prepare_time: prepare_time.map(timestamp),
        ready_time: ready_time.map(timestamp),
        activate_time: record.activate_time.map(timestamp),
        retire_time: record.retire_time.map(timestamp),
        revoke_time: record.revoke_time.map(timestamp),
    }
}
