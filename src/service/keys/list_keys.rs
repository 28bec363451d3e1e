//! Lists the public keys, for verifiers and for users.

use super::use_cases::SigningKeys;
use crate::domain::event::Cursor;
use crate::domain::filter::Filter;
use crate::domain::key::{KeyInfo, KeyPurpose, KeyRecord, KeyState};
use crate::domain::time::Micros;

impl SigningKeys {
    /// Returns the public keys that match a filter: signing ones first, revoked ones last.
    #[must_use]
    pub fn keys(&self, wanted: &Filter<KeyInfo>) -> Vec<KeyInfo> {
        let view = self.log.signer.view();
        let mut keys: Vec<KeyInfo> = view.ring().records().map(|record| self.key_info(record.clone())).collect();
        keys.push(KeyInfo { record: self.event_key_record(), purpose: KeyPurpose::Seal, ready_time: None });
        keys.retain(|key| wanted.keeps(key));
        keys.sort_by_key(|info| (info.record.state == KeyState::Revoked, info.record.state != KeyState::Active));
        keys
    }

    /// Returns a signing key with its purpose and the time from which it may sign.
    #[must_use]
    pub fn key_info(&self, record: KeyRecord) -> KeyInfo {
        let is_prepared = record.state == KeyState::Prepared;
        let ready_time = is_prepared.then(|| record.ready_time(self.log.signer.publish_micros()));
        KeyInfo { record, purpose: KeyPurpose::Bundle, ready_time }
    }

    fn event_key_record(&self) -> KeyRecord {
        let key = self.log.signer.event_key();
        KeyRecord {
            key_id: key.key_id().to_owned(),
            algorithm: key.algorithm().as_str().to_owned(),
            jwk: key.to_jwk().to_string(),
            state: KeyState::Active,
            prepare_time: Micros::default(),
            activate_time: None,
            retire_time: None,
            revoke_time: None,
            revision: 0,
        }
    }

    /// Returns the keys that verify bundles, as JWKS (RFC 7517 §5).
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.log.signer.view().trusted().to_jwks()
    }

    /// Returns the key statements that lead from older keys to the current ones, oldest first.
    #[must_use]
    pub fn key_statements(&self) -> Vec<String> {
        self.log.signer.view().statements_after(Cursor::NONE).map(str::to_owned).collect()
    }
}
