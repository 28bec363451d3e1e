//! Key statements: one at each change of a key's state, in the event of that change.
//!
//! Invariant: a statement is signed by the key that is active when the event is written. When another key becomes active, that is the
//! previous key: a client that trusts only the old key learns the new one before the new one signs anything.

use super::key_view::{KeyView, public};
use super::signer::Signer;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::key::{KeyRecord, KeyRing, KeyState};
use crate::domain::limits::STATED_REVOKED_KEYS_MAX;
use crate::domain::time::Micros;
use crate::signing::{KeySet, KeyStatement, StatedKey, TYP_KEYS, digest_of};

impl Signer {
    /// Returns the statement of the keys after the event at `next`. None when this replica holds no key that may sign it: the change is
    /// made all the same, because it may be the one that repairs this.
    ///
    /// # Errors
    /// `SIGNING_UNAVAILABLE`, `INTERNAL`.
    pub fn state_keys(&self, before: &KeyView, after: &KeyRing, next: Cursor, now: Micros) -> Result<Option<String>> {
        let active = before.ring().active().into_iter().chain(after.active());
        let Some(signer) = active.map(|key| &key.key_id).find(|key_id| self.private().holds(key_id)) else {
            tracing::warn!(
                revision = next.revision,
                "the keys change without a key statement: the active key is not here"
            );
            return Ok(None);
        };
        let prev = before.newest_statement().and_then(|token| payload_digest(token, before.known()));
        let statement = KeyStatement {
            store: self.store().to_owned(),
            epoch: next.epoch,
            serial: next.revision,
            keys: stated_keys(after)?,
            prev,
            iat: now.seconds(),
        };
        self.private().sign(signer, TYP_KEYS, &statement.to_bytes()?).map(Some)
    }
}

fn payload_digest(token: &str, keys: &KeySet) -> Option<crate::domain::digest::Digest> {
    KeyStatement::verify(token, keys).ok().map(|(_, _, payload)| digest_of(&payload))
}

/// Returns the statement's entry of each key: of revoked ones only the latest, without their public keys.
fn stated_keys(ring: &KeyRing) -> Result<Vec<StatedKey>> {
    let mut revoked: Vec<&KeyRecord> = ring.records().filter(|key| key.state == KeyState::Revoked).collect();
    revoked.sort_by_key(|key| std::cmp::Reverse(key.revoke_time));
    revoked.truncate(STATED_REVOKED_KEYS_MAX);
    let held = ring.records().filter(|key| key.state != KeyState::Revoked);
    held.chain(revoked)
        .map(|record| {
            let seconds = |time: Option<Micros>| time.map(Micros::seconds);
            Ok(StatedKey {
                key_id: record.key_id.clone(),
                state: record.state,
                key: if record.state == KeyState::Revoked { None } else { Some(public(record)?) },
                prepare_time: Some(record.prepare_time.seconds()),
                activate_time: seconds(record.activate_time),
                retire_time: seconds(record.retire_time),
                revoke_time: seconds(record.revoke_time),
            })
        })
        .collect()
}
