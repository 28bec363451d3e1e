//! Signing keys and where each stands: PREPARED → ACTIVE → RETIRED, and REVOKED as the end of each.
//!
//! Pure. The log of `system` is the truth: a ring is what its key events add up to. Invariant: one key at most is active,
//! and a key that signed is never active again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::EventKind;
use super::limits::SIGNING_KEYS_MAX;
use super::time::Micros;
use super::{Error, Reason, Result};

/// The collection of signing keys: `signingKeys/{thumbprint}` is the name of one.
pub const SIGNING_KEYS: &str = "signingKeys";

/// Says where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyState {
    /// Public, signs nothing yet.
    Prepared,
    /// Signs.
    Active,
    /// Signs nothing any more; what it signed is good.
    Retired,
    /// It is revoked: what it signed is not trusted any more.
    Revoked,
}

/// A key, its public half, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// RFC 7638 thumbprint.
    pub key_id: String,
    /// JWS algorithm.
    pub algorithm: String,
    /// The public key as JWK, JSON text.
    pub jwk: String,
    /// Says where it stands.
    pub state: KeyState,
    /// Says when it became public.
    pub prepare_time: Micros,
    /// Says when it began to sign.
    pub activate_time: Option<Micros>,
    /// Says when another took its place.
    pub retire_time: Option<Micros>,
    /// Says when trust in it ended.
    pub revoke_time: Option<Micros>,
    /// The last event about it.
    pub revision: i64,
}

/// Says what a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Bundles, statements, checkpoints, previews.
    Bundle,
    /// Seals of events. Of its times nothing is known.
    Seal,
}

/// Describes a public key, as ListSigningKeys answers it.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// The key and where it stands.
    pub record: KeyRecord,
    /// Holds what it signs.
    pub purpose: KeyPurpose,
    /// The earliest time at which it may become the one that signs; none when it did already.
    pub ready_time: Option<Micros>,
}

/// Holds what a key event says: whole for a key that is new, its id alone for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// Names the key whose state changes.
    pub key_id: String,
    /// JWS algorithm of a new key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Public half of a new key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<String>,
    /// The key statement of all keys after the change, compact JWS; none where the active key was not at hand to sign it, and
    /// in events from before there were statements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// All keys of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    records: BTreeMap<String, KeyRecord>,
}

impl KeyChange {
    /// Returns a change of a key that is known already.
    #[must_use]
    pub fn of(key_id: &str) -> Self {
        Self { key_id: key_id.to_owned(), algorithm: None, jwk: None, statement: None }
    }
}

impl KeyPurpose {
    /// Every purpose, in the order of the proto.
    pub const ALL: [Self; 2] = [Self::Bundle, Self::Seal];

    /// Returns its name, as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "BUNDLE",
            Self::Seal => "SEAL",
        }
    }
}

impl KeyInfo {
    /// Returns when it became public; none for the key of the seals.
    #[must_use]
    pub fn prepare_time(&self) -> Option<Micros> {
        match self.purpose {
            KeyPurpose::Bundle => Some(self.record.prepare_time),
            KeyPurpose::Seal => None,
        }
    }
}

impl KeyState {
    /// Every state, in the order of the proto.
    pub const ALL: [Self; 4] = [Self::Prepared, Self::Active, Self::Retired, Self::Revoked];

    /// Returns the word kept in the database and in errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "PREPARED",
            Self::Active => "ACTIVE",
            Self::Retired => "RETIRED",
            Self::Revoked => "REVOKED",
        }
    }
}

fn wrong_state(record: &KeyRecord, advice: &str) -> Error {
    let (key_id, state) = (&record.key_id, record.state.as_str());
    Error::new(Reason::KeyStateWrong, format!("key {key_id} is {state}: {advice}")).with("state", state)
}

impl KeyRing {
    /// Returns every key, in the order of their ids.
    pub fn records(&self) -> impl Iterator<Item = &KeyRecord> {
        self.records.values()
    }

    /// Returns whether the store has no key yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the key that signs.
    #[must_use]
    pub fn active(&self) -> Option<&KeyRecord> {
        self.records.values().find(|record| record.state == KeyState::Active)
    }

    /// Returns a key.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`.
    pub fn get(&self, key_id: &str) -> Result<&KeyRecord> {
        let missing = || Error::new(Reason::KeyNotFound, "there is no such signing key").with("key_id", key_id);
        self.records.get(key_id).ok_or_else(missing)
    }

    /// Checks whether a key may be added.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`: verifiers take `SIGNING_KEYS_MAX` keys at once.
    pub fn check_room(&self) -> Result<()> {
        let trusted = self.records.values().filter(|record| record.state != KeyState::Revoked).count();
        if trusted < SIGNING_KEYS_MAX {
            return Ok(());
        }
        let message = format!("{trusted} keys are trusted, and verifiers take no more; revoke one that is retired");
        Err(Error::new(Reason::LimitExceeded, message).with("limit", SIGNING_KEYS_MAX))
    }

    /// Checks whether a key may begin to sign. `publish_micros`: how long it must have been public.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `KEY_STATE_WRONG`, `KEY_NOT_READY`.
    pub fn check_activate(&self, key_id: &str, publish_micros: i64, now: Micros) -> Result<()> {
        let record = self.get(key_id)?;
        if record.state != KeyState::Prepared {
            return Err(wrong_state(record, "only a prepared key becomes active"));
        }
        let ready = record.ready_time(publish_micros);
        if now >= ready {
            return Ok(());
        }
        let wait = (ready.0 - now.0).unsigned_abs().div_ceil(1_000_000);
        let message = format!("key {key_id} was not public for long enough; activate it in {wait} s");
        Err(Error::new(Reason::KeyNotReady, message).with("ready_time_seconds", ready.seconds()))
    }

    /// Checks whether trust in a key may end.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `KEY_STATE_WRONG`.
    pub fn check_revoke(&self, key_id: &str) -> Result<()> {
        let record = self.get(key_id)?;
        match record.state {
            KeyState::Prepared | KeyState::Retired => Ok(()),
            KeyState::Active => Err(wrong_state(record, "activate another one first")),
            KeyState::Revoked => Err(wrong_state(record, "it can't be revoked again")),
        }
    }

    /// Takes in an event; others than key events change nothing.
    ///
    /// # Errors
    /// `DATA_LOSS` for one that no server wrote.
    pub fn take(&mut self, kind: EventKind, change: &KeyChange, time: Micros, revision: i64) -> Result<()> {
        match kind {
            EventKind::PrepareSigningKey => self.add(change, time, revision),
            EventKind::ActivateSigningKey => {
                if self.is_empty() {
                    // The first key of a store may sign at once: no verifier can have known another one before.
                    self.add(change, time, revision)?;
                }
                let before = self.active().map(|record| record.key_id.clone());
                if let Some(before) = before.and_then(|key_id| self.records.get_mut(&key_id)) {
                    before.state = KeyState::Retired;
                    (before.retire_time, before.revision) = (Some(time), revision);
                }
                let record = self.known(change, &[KeyState::Prepared], revision)?;
                record.state = KeyState::Active;
                (record.activate_time, record.revision) = (Some(time), revision);
                Ok(())
            }
            EventKind::RevokeSigningKey => {
                let record = self.known(change, &[KeyState::Prepared, KeyState::Retired], revision)?;
                record.state = KeyState::Revoked;
                (record.revoke_time, record.revision) = (Some(time), revision);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, change: &KeyChange, time: Micros, revision: i64) -> Result<()> {
        let KeyChange { key_id, algorithm: Some(algorithm), jwk: Some(jwk), .. } = change.clone() else {
            return Err(unfit(revision));
        };
        if self.records.contains_key(&key_id) {
            return Err(unfit(revision));
        }
        let record = KeyRecord {
            key_id: key_id.clone(),
            algorithm,
            jwk,
            state: KeyState::Prepared,
            prepare_time: time,
            activate_time: None,
            retire_time: None,
            revoke_time: None,
            revision,
        };
        self.records.insert(key_id, record);
        Ok(())
    }

    fn known(&mut self, change: &KeyChange, states: &[KeyState], revision: i64) -> Result<&mut KeyRecord> {
        let record = self.records.get_mut(&change.key_id).ok_or_else(|| unfit(revision))?;
        if states.contains(&record.state) { Ok(record) } else { Err(unfit(revision)) }
    }
}

impl KeyRecord {
    /// Returns the earliest time at which it may begin to sign.
    #[must_use]
    pub fn ready_time(&self, publish_micros: i64) -> Micros {
        Micros(self.prepare_time.0.saturating_add(publish_micros))
    }
}

fn unfit(revision: i64) -> Error {
    Error::data_loss(format!("event {revision} of system changes a key as no server does"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn new(key_id: &str) -> KeyChange {
        let [algorithm, jwk] = ["EdDSA", "{}"].map(|text| Some(text.to_owned()));
        KeyChange { key_id: key_id.to_owned(), algorithm, jwk, statement: None }
    }

    fn known(key_id: &str) -> KeyChange {
        KeyChange::of(key_id)
    }

    fn ring(events: &[(EventKind, KeyChange)]) -> Result<KeyRing> {
        let mut ring = KeyRing::default();
        for (revision, (kind, change)) in (1..).zip(events) {
            ring.take(*kind, change, Micros(revision * HOUR), revision)?;
        }
        Ok(ring)
    }

    fn states(ring: &KeyRing) -> Vec<(&str, &str)> {
        ring.records().map(|record| (record.key_id.as_str(), record.state.as_str())).collect()
    }

    use EventKind::{ActivateSigningKey as Activate, PrepareSigningKey as Prepare, RevokeSigningKey as Revoke};

    #[test]
    fn a_key_goes_forward_and_never_back() {
        let life = [(Activate, new("a")), (Prepare, new("b")), (Activate, known("b")), (Revoke, known("a"))];
        let expected: [&[_]; 4] = [
            &[("a", "ACTIVE")],
            &[("a", "ACTIVE"), ("b", "PREPARED")],
            &[("a", "RETIRED"), ("b", "ACTIVE")],
            &[("a", "REVOKED"), ("b", "ACTIVE")],
        ];
        for (count, expected) in (1..).zip(expected) {
            let ring = ring(&life[..count]).expect("a ring");
            assert_eq!(states(&ring), expected);
            assert!(ring.active().is_some_and(|active| active.state == KeyState::Active));
        }
        let ring = ring(&life).expect("a ring");
        let first = ring.get("a").expect("a key");
        assert_eq!(
            (first.retire_time, first.revoke_time, first.revision),
            (Some(Micros(3 * HOUR)), Some(Micros(4 * HOUR)), 4)
        );
        for again in [(Activate, known("a")), (Prepare, new("a")), (Revoke, known("a")), (Revoke, known("b"))] {
            let mut ring = ring.clone();
            assert_eq!(ring.take(again.0, &again.1, Micros(0), 5).expect_err("{again:?}").reason, Reason::DataLoss);
        }
    }

    #[test]
    fn what_no_server_wrote_is_refused() {
        for events in [
            vec![(Activate, known("a"))],
            vec![(Activate, new("a")), (Activate, new("b"))],
            vec![(Activate, new("a")), (Prepare, known("b"))],
            vec![(Activate, new("a")), (Revoke, known("b"))],
        ] {
            assert_eq!(ring(&events).expect_err("unfit").reason, Reason::DataLoss, "{events:?}");
        }
    }

    #[test]
    fn a_prepared_key_waits_until_it_is_known() {
        let ring = ring(&[(Activate, new("a")), (Prepare, new("b"))]).expect("a ring");
        let at = |micros| ring.check_activate("b", HOUR, Micros(micros)).map_err(|error| error.reason);
        assert_eq!(at(3 * HOUR - 1), Err(Reason::KeyNotReady));
        assert_eq!(at(3 * HOUR), Ok(()));
        assert_eq!(ring.check_activate("a", 0, Micros(0)).expect_err("active").reason, Reason::KeyStateWrong);
        assert_eq!(ring.check_activate("c", 0, Micros(0)).expect_err("unknown").reason, Reason::KeyNotFound);
        assert_eq!(ring.check_revoke("a").expect_err("active").reason, Reason::KeyStateWrong);
        assert!(ring.check_revoke("b").is_ok(), "a spare that leaked");
    }

    #[test]
    fn verifiers_take_so_many_keys() {
        let mut events = vec![(Activate, new("k0"))];
        events.extend((1..SIGNING_KEYS_MAX).map(|number| (Prepare, new(&format!("k{number}")))));
        assert!(ring(&events[1..]).is_ok_and(|ring| ring.check_room().is_ok()), "one is left");
        assert_eq!(ring(&events).expect("a ring").check_room().expect_err("full").reason, Reason::LimitExceeded);
        events.push((Revoke, known("k1")));
        assert!(ring(&events).expect("a ring").check_room().is_ok(), "a revoked one makes room");
    }
}
