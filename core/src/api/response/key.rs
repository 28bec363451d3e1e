//! Signing keys.

use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::key::{KeyInfo, KeyPurpose, KeyState, SIGNING_KEYS};

/// Writes a key. The seal key has no times.
#[must_use]
pub fn signing_key(from: KeyInfo) -> pb::SigningKey {
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
