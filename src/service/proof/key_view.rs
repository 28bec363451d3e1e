//! What the log of `system` adds up to, as known to a replica: the signing keys, the revoked credentials, and the event that last changed
//! role bindings.
//!
//! Invariant: it comes from signed events alone, each of which follows the one before. Rows of `signing_keys` and `revoked_tokens` are
//! compared with it and never used.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::digest::Hash;
use crate::domain::event::{Cursor, Event, Head, Payload};
use crate::domain::key::{KeyChange, KeyRecord, KeyRing, KeyState};
use crate::domain::limits::KEY_STATEMENTS_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::revocation::Revocation;
use crate::domain::revoked_credentials::RevokedCredentials;
use crate::domain::{Error, Result};
use crate::signing::{KeySet, PublicKey, jws};
use crate::store::ReadTx;
use crate::watch::{Verify, check_follows};

/// Number of events read at once.
const PAGE_EVENTS: u32 = 500;

/// What the log of `system` says up to a head.
#[derive(Debug, Clone)]
pub struct KeyView {
    number: u64,
    head: Head,
    ring: KeyRing,
    /// The events that made the ring, in order.
    key_events: Vec<Head>,
    /// The revocations, oldest first, each with its event, but those that had expired when the newest one was recorded. Shared, since they
    /// can be many.
    revocations: Arc<Vec<(Head, Revocation)>>,
    /// What they revoke. Shared, as above.
    revoked: Arc<RevokedCredentials>,
    /// The event that last changed the role bindings of `system`.
    bindings_event: Option<Head>,
    known: KeySet,
    trusted: KeySet,
    active: Option<PublicKey>,
    /// The newest key statement of each key that signed one, oldest first.
    statements: Vec<KeptStatement>,
}

/// A key statement of the log.
#[derive(Debug, Clone)]
struct KeptStatement {
    at: Cursor,
    signer: String,
    token: String,
}

impl Default for KeyView {
    fn default() -> Self {
        let head = Head { cursor: Cursor::NONE, hash: [0; 32] };
        Self {
            number: 1,
            head,
            ring: KeyRing::default(),
            key_events: Vec::new(),
            revocations: Arc::default(),
            revoked: Arc::default(),
            bindings_event: None,
            known: KeySet::default(),
            trusted: KeySet::default(),
            active: None,
            statements: Vec::new(),
        }
    }
}

impl KeyView {
    /// Returns a number that is raised whenever the keys change.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the head of the log of `system` up to which it was read.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the keys.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Returns the revocations after a revision that may still revoke a credential.
    pub fn revocations_after(&self, revision: i64) -> impl Iterator<Item = &Revocation> {
        let from = self.revocations.partition_point(|(event, _)| event.cursor.revision <= revision);
        self.revocations.iter().skip(from).map(|(_, revocation)| revocation)
    }

    /// Returns the credentials that they revoke.
    pub fn revoked_credentials(&self) -> &RevokedCredentials {
        &self.revoked
    }

    /// Returns the event that last changed the role bindings of `system`; none when no event did.
    pub fn bindings_event(&self) -> Option<Head> {
        self.bindings_event
    }

    /// Returns the events that made all this, in order. They add up to the same without the others.
    pub(super) fn source_events(&self) -> Vec<Head> {
        let revocations = self.revocations.iter().map(|(event, _)| *event);
        let mut events: Vec<Head> =
            self.key_events.iter().copied().chain(revocations).chain(self.bindings_event).collect();
        events.sort_by_key(|event| event.cursor.revision);
        events
    }

    /// Returns every key that the store ever had: a signature by one of them proves who signed, not that the key is still trusted.
    pub fn known(&self) -> &KeySet {
        &self.known
    }

    /// Returns the keys that were not revoked.
    pub fn trusted(&self) -> &KeySet {
        &self.trusted
    }

    /// Returns the keys whose revocation, and the number of credentials whose revocation is in `before` and not here.
    pub fn lost_revocations(&self, before: &Self) -> (Vec<String>, usize) {
        let revoked = before.ring.records().filter(|key| key.state == KeyState::Revoked);
        let keys = revoked.filter(|key| !self.trusted.is_revoked(&key.key_id)).map(|key| key.key_id.clone()).collect();
        let here: BTreeSet<Hash> = self.revocations.iter().map(|(event, _)| event.hash).collect();
        let credentials = before.revocations.iter().filter(|(event, _)| !here.contains(&event.hash)).count();
        (keys, credentials)
    }

    /// Returns the key that signs.
    pub fn active(&self) -> Option<&PublicKey> {
        self.active.as_ref()
    }

    /// Returns the key statements that follow the one at this cursor, oldest first.
    pub fn statements_after(&self, held: Cursor) -> impl Iterator<Item = &str> {
        self.statements.iter().filter(move |kept| kept.at > held).map(|kept| kept.token.as_str())
    }

    /// Returns the cursor of the newest key statement; `Cursor::NONE` without one.
    pub fn newest_statement_at(&self) -> Cursor {
        self.statements.last().map_or(Cursor::NONE, |kept| kept.at)
    }

    /// Returns the newest key statement.
    pub fn newest_statement(&self) -> Option<&str> {
        self.statements.last().map(|kept| kept.token.as_str())
    }

    /// Returns whether no key was revoked.
    pub fn none_revoked(&self) -> bool {
        self.ring.records().all(|record| record.state != KeyState::Revoked)
    }

    /// Returns whether a key was revoked that `before` trusted.
    pub fn revokes_since(&self, before: &Self) -> bool {
        before.trusted.keys().any(|key| self.trusted.is_revoked(key.key_id()))
    }

    /// Verifies these events and returns what they add up to. It does not prove that they are all: the caller must know that from
    /// elsewhere.
    ///
    /// # Errors
    /// `DATA_LOSS` for an event that does not verify.
    pub(super) fn from_events<'a>(events: impl Iterator<Item = &'a Event>, verify: &dyn Verify) -> Result<Self> {
        let mut view = Self::default();
        for event in events {
            view.add(event, &verify.event(event)?)?;
        }
        Self { number: view.number + 1, ..view.without_expired() }.with_sets()
    }

    /// Reads to the end of the log as a transaction sees it. It restarts from the first event when the log does not continue from here and
    /// its epoch was raised: then an operator accepted that its tail was lost.
    ///
    /// # Errors
    /// `DATA_LOSS` for a log that is broken, or ends before the part that was read.
    pub async fn at_end(&self, tx: &ReadTx, verify: &dyn Verify) -> Result<Self> {
        let system = NamespaceId::system();
        let found = tx.namespace(&system).await?;
        let end = Head { cursor: found.cursor, hash: found.head_hash };
        if end == self.head || end.cursor.revision == 0 && self.head.cursor.revision == 0 {
            return Ok(Self { head: end, ..self.clone() });
        }
        let from = if self.leads_to(tx, end).await? { self.clone() } else { self.emptied() };
        let read = from.read_on(tx, verify).await?.without_expired();
        if read.head != end {
            return Err(Error::data_loss("system: its head is not its last event"));
        }
        if read.ring == self.ring {
            let Self { number, known, trusted, active, .. } = self.clone();
            return Ok(Self { number, known, trusted, active, ..read });
        }
        Self { number: self.number + 1, ..read }.with_sets()
    }

    /// Returns a view that has read nothing, from which the whole log is read.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { number: self.number, ..Self::default() }
    }

    /// Returns whether the log still has the event that was read last.
    async fn leads_to(&self, tx: &ReadTx, end: Head) -> Result<bool> {
        let held = self.head.cursor;
        if held.revision == 0 {
            return Ok(true);
        }
        let kept = tx.events_after(&NamespaceId::system(), held.revision - 1, 1).await?;
        if kept.first().is_some_and(|event| event.hash == self.head.hash) {
            return Ok(true);
        }
        if end.cursor.epoch > held.epoch {
            return Ok(false);
        }
        Err(Error::data_loss("system: its log ends before what was read of the signing keys"))
    }

    async fn read_on(mut self, tx: &ReadTx, verify: &dyn Verify) -> Result<Self> {
        loop {
            let events = tx.events_after(&NamespaceId::system(), self.head.cursor.revision, PAGE_EVENTS).await?;
            if events.is_empty() {
                return Ok(self);
            }
            for event in events {
                let payload = verify.event(&event)?;
                check_follows(&event, payload.kind, self.head)?;
                self.add(&event, &payload)?;
            }
        }
    }

    fn add(&mut self, event: &Event, payload: &Payload) -> Result<()> {
        self.head = Head { cursor: event.cursor, hash: event.hash };
        if let Some(change) = key_change(payload)? {
            self.ring.take(payload.kind, &change, payload.time, payload.revision)?;
            self.key_events.push(self.head);
            self.keep_statement(change.statement);
        }
        if let Some(revocation) = Revocation::of_event(payload) {
            Arc::make_mut(&mut self.revoked).add(revocation.clone());
            Arc::make_mut(&mut self.revocations).push((self.head, revocation));
        }
        if payload.access.is_some() {
            self.bindings_event = Some(self.head);
        }
        Ok(())
    }

    /// Removes the revocations that had expired when the newest one was recorded, so that the result does not depend on when it is asked.
    fn without_expired(mut self) -> Self {
        let Some(newest) = self.revocations.last().map(|(_, revocation)| revocation.forget_time()) else { return self };
        let is_expired = |revocation: &Revocation| Revocation::forget_time_of(revocation.forget_time()) <= newest;
        if self.revocations.iter().any(|(_, revocation)| is_expired(revocation)) {
            Arc::make_mut(&mut self.revocations).retain(|(_, revocation)| !is_expired(revocation));
            self.revoked = Arc::new(self.revocations_after(0).cloned().collect());
        }
        self
    }

    /// Stores the key statement of the event that was read last, and replaces the earlier one by the same key. With the newest statement
    /// of each key, a client that trusts one of them can follow to the newest of all.
    fn keep_statement(&mut self, statement: Option<String>) {
        let Some(token) = statement else { return };
        let Some(signer) = jws::named_key(&token) else { return };
        self.statements.retain(|kept| kept.signer != signer);
        if self.statements.len() >= KEY_STATEMENTS_MAX {
            self.statements.remove(0);
        }
        self.statements.push(KeptStatement { at: self.head.cursor, signer, token });
    }

    fn with_sets(mut self) -> Result<Self> {
        let all: Vec<(&KeyRecord, PublicKey)> =
            self.ring.records().map(|record| Ok((record, public(record)?))).collect::<Result<_>>()?;
        let revoked = all.iter().filter(|(record, _)| record.state == KeyState::Revoked);
        let revoked: Vec<String> = revoked.map(|(record, _)| record.key_id.clone()).collect();
        let active = all.iter().find(|(record, _)| record.state == KeyState::Active).map(|(_, key)| key.clone());
        let known = KeySet::from_keys(all.into_iter().map(|(_, key)| key).collect());
        self.trusted = known.clone().without(revoked);
        (self.known, self.active) = (known, active);
        Ok(self)
    }
}

/// Returns the entry for a key in an event, if it has one.
fn key_change(payload: &Payload) -> Result<Option<KeyChange>> {
    use crate::domain::event::EventKind as K;
    if !matches!(payload.kind, K::PrepareSigningKey | K::ActivateSigningKey | K::RevokeSigningKey) {
        return Ok(None);
    }
    let settings = payload.settings.clone().unwrap_or_default();
    let unreadable = |error| Error::data_loss(format!("system event {}: unreadable key: {error}", payload.revision));
    serde_json::from_value(settings).map(Some).map_err(unreadable)
}

/// Returns the public key of a record.
pub fn public(record: &KeyRecord) -> Result<PublicKey> {
    let key_id = &record.key_id;
    let jwk = serde_json::from_str(&record.jwk);
    let jwk = jwk.map_err(|error| Error::data_loss(format!("key {key_id} is not JSON: {error}")))?;
    let key = PublicKey::from_jwk(&jwk).map_err(|error| Error::data_loss(format!("key {key_id}: {error}")))?;
    let same = key.key_id() == key_id && key.algorithm().as_str() == record.algorithm;
    if same { Ok(key) } else { Err(Error::data_loss(format!("key {key_id} is another key"))) }
}
