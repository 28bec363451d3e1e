//! The log of a namespace, verified event by event: hash, chain, seal, statement, and what it all adds up to.
//!
//! One implementation for the server, which compares its rows with it, and for whoever reads a log from outside. Never stops
//! at the first thing that does not hold: it goes on after what is stored there, so that one edit is one finding.

use std::collections::{BTreeMap, BTreeSet};

use accepted::Accepted;
pub use accepted::{accepted_settings, findings_digest};

use super::active_set::{ActiveLeaf, ActiveSetTree};
use super::hash::{digest_of, event_hash, sha256};
use super::jws::{self, TYP_BUNDLE};
use super::key_set::KeySet;
use super::payload::Manifest;
use super::seal::verify_event_signature;
use super::verify::verify_statement;
use crate::domain::audit::Findings;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Event, EventKind, Head, Payload};
use crate::domain::lifecycle::Replay;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::revocation::Revocation;
use crate::domain::version::VersionState;

/// Names the store and the keys that a log is verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTrust {
    /// Id of the store.
    pub store: String,
    /// Keys of bundles and statements.
    pub keys: KeySet,
    /// Keys of seals.
    pub seal_keys: KeySet,
}

/// Where the pointer of a policy went last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pointer {
    /// The version; 0: nowhere.
    pub version: i64,
    /// The event that put it there.
    pub revision: i64,
}

/// What the newest event about a row says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowState {
    /// Its digest; none: it was removed.
    pub digest: Option<Digest>,
    /// The event.
    pub revision: i64,
}

/// Checks one log, from its beginning or from a proven head.
#[derive(Debug)]
pub struct LogCheck {
    trust: LogTrust,
    namespace: NamespaceId,
    /// Whether it began at the beginning: only then is it known what was written before.
    whole: bool,
    head: Head,
    /// The end of what holds without a break.
    proven: Head,
    broken: bool,
    /// Events seen.
    pub events: i64,
    /// Published versions seen.
    pub manifests: BTreeSet<(PolicyId, i64)>,
    /// Contents seen, with their sizes.
    contents: BTreeMap<Digest, u64>,
    /// What is remembered of the log.
    expected: Option<Head>,
    /// Where the pointers are.
    pub pointers: BTreeMap<PolicyId, Pointer>,
    /// The active set that they make.
    active: ActiveSetTree,
    /// The versions, in the state that events left them.
    pub versions: BTreeMap<(PolicyId, i64), (VersionState, Digest)>,
    /// The rows, by table and key.
    pub rows: BTreeMap<(String, String), RowState>,
    /// What credentials were ended, by the revisions of the events.
    pub revocations: BTreeMap<i64, Revocation>,
    /// Rows that came with it.
    carried: BTreeSet<(String, String)>,
    /// The rules, as long as every event so far could be read: what is missing may be what allowed the next one.
    rules: Option<Replay>,
    /// What admins accepted, as events say that thawed the namespace.
    accepted: Accepted,
    /// The event that was taken in last: its revision, and the digest of all that is stored of it.
    newest: (i64, Option<Digest>),
    /// The findings.
    pub findings: Findings,
}

/// Verifies one event by itself; what it says, or what is wrong.
pub fn verify_event(event: &Event, trust: &LogTrust) -> Result<Payload, String> {
    let broken = |what: &str| Err(what.to_owned());
    if event_hash(&event.prev_hash, &event.payload) != event.hash {
        return broken("its hash is not that of its payload");
    }
    let Some(seal_key) = trust.seal_keys.get(&event.seal_key_id) else {
        return broken("it is sealed by an unknown key");
    };
    if !verify_event_signature(&event.hash, &event.seal, seal_key) {
        return broken("its seal does not verify");
    }
    let payload: Payload = match serde_json::from_slice(&event.payload) {
        Ok(payload) => payload,
        Err(error) => return Err(format!("its payload can't be read: {error}")),
    };
    let same_place = payload.store == trust.store
        && payload.namespace == event.namespace
        && (payload.epoch, payload.revision) == (event.cursor.epoch, event.cursor.revision);
    if !same_place {
        return broken("its payload speaks of another place");
    }
    let statement = (!event.statement.is_empty()).then(|| digest_of(event.statement.as_bytes()));
    if payload.statement_digest != statement || payload.changes.is_empty() == statement.is_some() {
        return broken("its statement is not the one it was written with");
    }
    if statement.is_some() && !states(event, &payload, &trust.keys) {
        return broken("its statement says something else");
    }
    Ok(payload)
}

/// Returns whether the statement of an event is signed and says what its payload says.
fn states(event: &Event, payload: &Payload, keys: &KeySet) -> bool {
    let Ok(statement) = verify_statement(&event.statement, keys) else { return false };
    statement.store == payload.store
        && statement.namespace == payload.namespace
        && (statement.epoch, statement.revision) == (payload.epoch, payload.revision)
        && statement.prev == event.prev_hash
        && statement.active_set_root == payload.active_set_root
        && statement.changes.len() == payload.changes.len()
        && statement.changes.iter().zip(&payload.changes).all(|(stated, change)| {
            stated.policy == change.policy
                && stated.version == change.version
                && stated.digest == change.digest
                && stated.previous == change.previous
        })
}

/// Returns the digest of everything that is stored of an event.
fn stored_digest(event: &Event) -> Digest {
    let Event { payload, prev_hash, hash, seal, seal_key_id, statement, .. } = event;
    let parts: [&[u8]; 4] = [payload, seal, seal_key_id.as_bytes(), statement.as_bytes()];
    let hashes = parts.map(|part| sha256(&[part]));
    Digest::from_sha256(&sha256(&[prev_hash, hash, hashes.as_flattened()]))
}

impl LogCheck {
    /// Returns a check of the whole log of a namespace.
    #[must_use]
    pub fn new(trust: LogTrust, namespace: NamespaceId) -> Self {
        Self { whole: true, rules: Some(Replay::default()), ..Self::after(trust, namespace, Head::EMPTY) }
    }

    /// Returns a check of the events that follow a head.
    #[must_use]
    pub fn after(trust: LogTrust, namespace: NamespaceId, head: Head) -> Self {
        Self {
            trust,
            namespace,
            whole: false,
            head,
            proven: head,
            broken: false,
            events: 0,
            manifests: BTreeSet::new(),
            contents: BTreeMap::new(),
            expected: None,
            pointers: BTreeMap::new(),
            active: ActiveSetTree::new(),
            versions: BTreeMap::new(),
            rows: BTreeMap::new(),
            revocations: BTreeMap::new(),
            carried: BTreeSet::new(),
            rules: None,
            accepted: Accepted::default(),
            newest: (0, None),
            findings: Findings::default(),
        }
    }

    /// Returns whose log it is.
    #[must_use]
    pub fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// Returns whether it began at the beginning of the log.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Returns the last event that was seen, as it is stored.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the last event before anything was wrong.
    #[must_use]
    pub fn proven(&self) -> Head {
        self.proven
    }

    /// Returns the versions that the log published.
    pub fn published(&self) -> impl Iterator<Item = &(PolicyId, i64)> {
        let versions = self.versions.iter();
        versions.filter(|(_, (state, _))| *state == VersionState::Published).map(|(version, _)| version)
    }

    /// Records a finding about an event.
    pub fn wrong(&mut self, revision: i64, message: impl AsRef<str>) {
        self.broken = true;
        let digest = self.newest.1.clone().filter(|_| self.newest.0 == revision);
        self.findings.add_found(revision, "", message, digest);
    }

    /// Records a finding about a document that is stored beside an event. `found` is what it says.
    pub fn wrong_beside(&mut self, revision: i64, message: impl AsRef<str>, found: &str) {
        self.broken = true;
        self.findings.add_found(revision, "", message, Some(digest_of(found.as_bytes())));
    }

    /// Takes the next event in. Answers what it says, unless it does not verify.
    pub fn event(&mut self, event: &Event) -> Option<Payload> {
        self.events += 1;
        let (revision, before) = (event.cursor.revision, self.findings.count);
        self.newest = (revision, Some(stored_digest(event)));
        let payload = if event.namespace == self.namespace {
            verify_event(event, &self.trust)
        } else {
            Err(format!("it is of the log of {}", event.namespace))
        };
        let kind = payload.as_ref().ok().map(|payload| payload.kind);
        if event.cursor.revision != self.head.cursor.revision + 1 {
            self.wrong(revision, format!("it follows event {}", self.head.cursor.revision));
        } else if event.prev_hash != self.head.hash {
            self.wrong(revision, "it was not written after the event before it");
        } else if kind.is_some_and(|kind| !event.follows(kind, self.head)) {
            self.wrong(revision, format!("its epoch {} does not follow", event.cursor.epoch));
        }
        match &payload {
            Ok(payload) => {
                self.add_up(payload);
                let broken = self.rules.as_mut().and_then(|rules| rules.event(payload).err());
                if let Some(rule) = broken.filter(|_| self.findings.count == before) {
                    // The chain itself is intact, so the events that follow are not findings.
                    let digest = self.newest.1.clone();
                    self.findings.add_found(revision, "", format!("the rules do not allow it: {rule}"), digest);
                }
            }
            Err(problem) => {
                self.rules = None;
                self.wrong(revision, problem);
            }
        }
        self.head = Head { cursor: event.cursor, hash: event.hash };
        if let Some(expected) = self.expected.take_if(|expected| expected.cursor.revision == revision)
            && expected != self.head
        {
            self.wrong(revision, "it is not the event that is remembered");
        }
        if !self.broken && self.findings.count == before {
            self.proven = self.head;
        }
        payload.ok()
    }

    /// Adds what an event changed to the state of the log.
    fn add_up(&mut self, payload: &Payload) {
        let revision = payload.revision;
        if payload.kind == EventKind::ThawNamespace {
            self.accepted.take(payload);
        }
        self.revocations.extend(Revocation::of_event(payload).map(|revocation| (revision, revocation)));
        for change in &payload.versions {
            let key = (change.policy.clone(), change.version);
            let before = self.versions.insert(key, (change.state, change.digest.clone()));
            let changed = before.is_some_and(|(state, digest)| {
                digest != change.digest || state == VersionState::Published && change.state != state
            });
            if changed {
                self.wrong(revision, format!("it changes {}@{}, which can't change", change.policy, change.version));
            }
        }
        for change in &payload.changes {
            let before = self.pointers.insert(change.policy.clone(), Pointer { version: change.version, revision });
            let published = self.versions.get(&(change.policy.clone(), change.version));
            let is_published = change.version == 0 && change.digest.is_none()
                || published.is_some_and(|(state, digest)| {
                    *state == VersionState::Published && Some(digest) == change.digest.as_ref()
                });
            if self.whole && !(is_published && before.unwrap_or_default().version == change.previous) {
                let (policy, version) = (&change.policy, change.version);
                self.wrong(revision, format!("it points {policy} to {version}, which the log does not allow"));
            }
        }
        for change in &payload.changes {
            let activated_at = Cursor { epoch: payload.epoch, revision };
            match &change.digest {
                Some(digest) => {
                    let (policy, version) = (&change.policy, change.version);
                    self.active.insert(ActiveLeaf { policy, version, digest, activated_at });
                }
                None => {
                    self.active.remove(&change.policy);
                }
            }
        }
        // An event that was written before events carried a root has none.
        let root = payload.active_set_root.filter(|_| self.whole);
        if root.is_some_and(|root| root.0 != self.active.root()) {
            self.wrong(revision, "its root is not that of the active set that the log makes");
        }
        for row in &payload.rows {
            let written = RowState { digest: row.digest.clone(), revision };
            self.rows.insert((row.table.clone(), row.key.clone()), written);
        }
    }

    /// Takes bytes in that manifests cover.
    pub fn content(&mut self, bytes: &[u8]) -> Digest {
        let digest = digest_of(bytes);
        self.contents.insert(digest.clone(), bytes.len() as u64);
        digest
    }

    /// Takes a published version in. The bytes that its manifest covers must have come before.
    pub fn manifest(&mut self, policy: &PolicyId, number: i64, manifest_jws: &str) {
        let row = format!("versions {policy}/{number}");
        let stored = Some(digest_of(manifest_jws.as_bytes()));
        if !self.manifests.insert((policy.clone(), number)) {
            self.findings.add(0, &row, "it is there twice");
        }
        let signed = jws::verify(manifest_jws, TYP_BUNDLE, &self.trust.keys);
        let manifest = match signed.and_then(|signed| Manifest::from_bytes(&signed.payload)) {
            Ok(manifest) => manifest,
            Err(error) => {
                let message = format!("its manifest does not verify: {error}");
                return self.findings.add_found(0, &row, message, stored);
            }
        };
        let own = manifest.store == self.trust.store
            && manifest.namespace == self.namespace
            && manifest.policy == *policy
            && manifest.version == number;
        if !own {
            self.findings.add_found(0, &row, "its manifest is of another version", stored.clone());
        } else if self.contents.get(&manifest.digest) != Some(&manifest.size) {
            self.findings.add_found(0, &row, "its content is not the one that was signed", stored.clone());
        }
        let published = (VersionState::Published, manifest.digest);
        if self.whole && self.versions.get(&(policy.clone(), number)) != Some(&published) {
            self.findings.add_found(0, &row, "no event published it", stored);
        }
    }

    /// Ends the check: what should have come and did not is a finding.
    pub fn end(&mut self) {
        if let Some(expected) = self.expected.take() {
            let message = format!("the log ends before {}, which is remembered of it", expected.cursor.revision);
            self.wrong(expected.cursor.revision, message);
        }
        let Self { versions, manifests, findings, .. } = self;
        let published = versions.iter().filter(|(_, (state, _))| *state == VersionState::Published);
        for ((policy, number), _) in published.filter(|(version, _)| !manifests.contains(*version)) {
            findings.add(0, &format!("versions {policy}/{number}"), "it was published, and is not there");
        }
    }

    /// Removes the findings that an administrator accepted, after everything was compared.
    pub fn settle(&mut self) {
        let Self { findings, accepted, .. } = self;
        findings.leave_out(|finding| accepted.contains(finding));
    }

    /// Compares the log with an event that is remembered of it: it must be there, as it was.
    pub fn expect(&mut self, remembered: Option<Head>) {
        self.expected = remembered;
    }
}

mod accepted;
mod rows;

#[cfg(all(feature = "server", any(test, feature = "samples")))]
pub mod tests;
