//! The keys of a subscriber that began with keys from a file, and follows the key statements of its store.
//!
//! Pure. Invariants: a key is trusted because the file has it, or because a statement says so that a trusted key signed; a
//! key whose trust ended is not trusted again by anything but a file.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::VerifyError;
use super::hash::digest_of;
use super::key_set::KeySet;
use super::key_statement::KeyStatement;
use super::public_key::PublicKey;
use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::key::KeyState;
use crate::domain::limits::KEY_STATEMENTS_MAX;

/// The keys of a file, and what key statements made of them.
#[derive(Debug, Clone, Default)]
pub struct PinnedKeys {
    pins: KeySet,
    /// Keys that an earlier file had and the newest one does not: no statement brings them back.
    dropped: BTreeSet<String>,
    /// Keys that a statement revoked.
    revoked: BTreeSet<String>,
    /// The keys of the newest statement that are not revoked.
    stated: BTreeMap<String, PublicKey>,
    newest: Option<Newest>,
    /// The newest statement of each key that signed one, oldest first: what leads from the pins to the newest statement.
    chain: Vec<(String, String)>,
}

/// The newest statement that was taken.
#[derive(Debug, Clone)]
struct Newest {
    store: String,
    at: Cursor,
    payload: Digest,
    active: String,
}

/// Holds what is kept of [`PinnedKeys`] over a restart. Statements are verified again when it is read back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPins {
    /// Ids of the keys of the file.
    pub pins: BTreeSet<String>,
    /// Ids of keys that an earlier file had, or a statement had revoked before the file changed.
    pub dropped: BTreeSet<String>,
    /// Ids of keys that the statements revoke.
    #[serde(default)]
    pub revoked: BTreeSet<String>,
    /// The statements that were taken, oldest first.
    pub statements: Vec<String>,
}

fn ids(keys: &KeySet) -> BTreeSet<String> {
    keys.keys().map(|key| key.key_id().to_owned()).collect()
}

impl PinnedKeys {
    /// Trusts these keys, and whatever statements make of them.
    #[must_use]
    pub fn new(pins: KeySet) -> Self {
        Self { pins, ..Self::default() }
    }

    /// Goes on from what was saved. When the file has other keys by now, it wins as in [`Self::replace`]. `store`: as in
    /// [`Self::take`].
    #[must_use]
    pub fn restore(pins: KeySet, saved: SavedPins, store: Option<&str>) -> Self {
        let SavedPins { pins: before, dropped, revoked, statements } = saved;
        let is_same = ids(&pins) == before;
        let mut keys = Self { pins, dropped, ..Self::default() };
        if !is_same {
            keys.drop_but_pins(before.into_iter().chain(revoked));
            return keys;
        }
        for statement in statements {
            // One that is damaged takes the rest with it: the server sends them all again. The first one was seen to name the pins,
            // and may have given way to a later one by the same key since, which need not.
            if keys.take_unless(&statement, store, |_, _| None).is_err() {
                break;
            }
        }
        keys
    }

    /// Returns what to keep over a restart.
    #[must_use]
    pub fn saved(&self) -> SavedPins {
        let statements = self.chain.iter().map(|(_, statement)| statement.clone()).collect();
        let (dropped, revoked) = (self.dropped.clone(), self.revoked.clone());
        SavedPins { pins: ids(&self.pins), dropped, revoked, statements }
    }

    /// Returns the keys that signatures are verified with. Those whose trust ended are refused as revoked.
    #[must_use]
    pub fn trusted(&self) -> KeySet {
        let keys = self.pins.keys().chain(self.stated.values()).cloned().collect();
        KeySet::from_keys(keys).without(self.revoked.iter().chain(&self.dropped).cloned())
    }

    /// Returns the epoch and the serial of the newest statement that was taken; none: none was.
    #[must_use]
    pub fn newest(&self) -> Option<Cursor> {
        self.newest.as_ref().map(|newest| newest.at)
    }

    /// Replaces the pins by those that the file has now: they are trusted, and those it had before and has no more are not. Statements that
    /// were taken count no more; those that a key of the file signed may be taken again. What they revoked stays revoked, unless
    /// the file has it.
    pub fn replace(&mut self, pins: KeySet) {
        if ids(&pins) == ids(&self.pins) {
            return;
        }
        let before = ids(&self.pins);
        let (dropped, revoked) = (std::mem::take(&mut self.dropped), std::mem::take(&mut self.revoked));
        *self = Self { pins, dropped, ..Self::default() };
        self.drop_but_pins(before.into_iter().chain(revoked));
    }

    /// Drops what was taken of another store than this one, also whom it revoked. True: there was something.
    pub fn drop_other_store(&mut self, store: &str) -> bool {
        let is_other = self.newest.as_ref().is_some_and(|newest| newest.store != store);
        if is_other {
            let (pins, dropped) = (std::mem::take(&mut self.pins), std::mem::take(&mut self.dropped));
            *self = Self { pins, dropped, ..Self::default() };
        }
        is_other
    }

    fn drop_but_pins(&mut self, before: impl Iterator<Item = String>) {
        self.dropped.extend(before);
        self.dropped.retain(|key_id| self.pins.get(key_id).is_none());
    }

    /// Takes a statement over: true. False: it is not newer than the one held. `store`: whose documents the subscriber takes,
    /// when that is known already.
    ///
    /// # Errors
    /// Says why the statement is refused. Nothing changed.
    pub fn take(&mut self, token: &str, store: Option<&str>) -> Result<bool, VerifyError> {
        // A retired key of the file signed statements while it was active, and they trust keys that were stolen and
        // revoked before the file was made. Who made the file knew a later state: what does not name all of it is older.
        self.take_unless(token, store, |pins, statement| {
            let names_all = pins.keys().all(|key| statement.key(key.key_id()).is_some());
            (!names_all).then_some(VerifyError::PinNotStated)
        })
    }

    /// Returns the same, with why the first statement of all is not believed.
    fn take_unless(
        &mut self,
        token: &str,
        store: Option<&str>,
        refusal_of_first: impl Fn(&KeySet, &KeyStatement) -> Option<VerifyError>,
    ) -> Result<bool, VerifyError> {
        let (statement, signer, payload) = KeyStatement::verify(token, &self.trusted())?;
        let of = self.newest.as_ref().map(|newest| newest.store.as_str()).or(store);
        if of.is_some_and(|store| store != statement.store) {
            return Err(VerifyError::StoreMismatch);
        }
        let at = Cursor { epoch: statement.epoch, revision: statement.serial };
        let payload = digest_of(&payload);
        if let Some(newest) = &self.newest {
            if at == newest.at && payload != newest.payload {
                return Err(VerifyError::SerialReused);
            }
            if at <= newest.at {
                return Ok(false);
            }
            // A retired key may have been taken from an old disk: what it signed before holds, and it leads nowhere new.
            if signer != newest.active {
                return Err(VerifyError::KeyNotActive);
            }
        }
        // At the change to another key the one before signs, and is retired by it.
        let signs = statement.key(&signer).map(|key| key.state);
        if !matches!(signs, Some(KeyState::Active | KeyState::Retired)) {
            return Err(VerifyError::KeyNotActive);
        }
        // Otherwise an old statement could continue the chain by a key that is not trusted any more.
        let is_ended = |key_id: &String| self.revoked.contains(key_id) || self.dropped.contains(key_id);
        if statement.keys.iter().any(|key| key.state == KeyState::Active && is_ended(&key.key_id)) {
            return Err(VerifyError::KeyNotActive);
        }
        if self.newest.is_none()
            && let Some(error) = refusal_of_first(&self.pins, &statement)
        {
            return Err(error);
        }
        self.take_over(statement, at, payload);
        self.chain.retain(|(key_id, _)| *key_id != signer);
        if self.chain.len() >= KEY_STATEMENTS_MAX {
            self.chain.remove(0);
        }
        self.chain.push((signer, token.to_owned()));
        Ok(true)
    }

    fn take_over(&mut self, statement: KeyStatement, at: Cursor, payload: Digest) {
        let mut active = String::new();
        self.stated.clear();
        for stated in statement.keys {
            if stated.state == KeyState::Active {
                active.clone_from(&stated.key_id);
            }
            match (stated.state, stated.key) {
                (KeyState::Revoked, _) => {
                    self.revoked.insert(stated.key_id);
                }
                (_, Some(key)) => {
                    self.stated.insert(stated.key_id, key);
                }
                (_, None) => {}
            }
        }
        self.newest = Some(Newest { store: statement.store, at, payload, active });
    }
}
