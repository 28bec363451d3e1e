//! A log for tests, made with keys of its own: versions are drafted, published and activated in turns.

use std::sync::Arc;

use super::Trust;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Event, EventKind, Head, Payload, PointerChange, RowChange, VersionChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::version::VersionState;
use crate::signing::payload::{Manifest, Statement, StatementChange};
use crate::signing::{Algorithm, KeySet, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, digest_of, event_hash, jws, seal};

/// The log, and what it was made with.
pub struct Sample {
    /// What a verifier knows.
    pub trust: Trust,
    /// Whose log it is.
    pub namespace: NamespaceId,
    /// The log.
    pub events: Vec<Event>,
    /// Published versions: policy, number, manifest, content.
    pub versions: Vec<(PolicyId, i64, String, Vec<u8>)>,
    key: Arc<PrivateKey>,
    seal_key: Arc<PrivateKey>,
    head: Head,
}

fn private() -> Arc<PrivateKey> {
    let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
    Arc::new(PrivateKey::from_pem(&pem).expect("the same key"))
}

/// A policy.
pub fn policy(id: &str) -> PolicyId {
    PolicyId::parse("policy", id).expect("an id")
}

impl Sample {
    /// An empty log.
    pub fn empty(namespace: &str) -> Self {
        let (key, seal_key) = (private(), private());
        let set = |key: &PrivateKey| KeySet::from_keys(vec![key.public().clone()]);
        let trust = Trust { store: "s".to_owned(), keys: set(&key), seal_keys: set(&seal_key) };
        let namespace = NamespaceId::parse("namespace", namespace).expect("an id");
        let head = Head { cursor: Cursor { epoch: 1, revision: 0 }, hash: [0; 32] };
        Self { trust, namespace, events: Vec::new(), versions: Vec::new(), key, seal_key, head }
    }

    /// The same keys for another namespace.
    pub fn beside(&self, namespace: &str) -> Self {
        let [key, seal_key] = [&self.key, &self.seal_key].map(Arc::clone);
        Self { trust: self.trust.clone(), key, seal_key, ..Self::empty(namespace) }
    }

    /// Two policies, each drafted, published and activated `rounds` times.
    pub fn fill(mut self, rounds: i64) -> Self {
        for version in 1..=rounds {
            for id in ["p", "q"] {
                self.release(id, version);
            }
        }
        self
    }

    fn release(&mut self, id: &str, version: i64) {
        let content = format!("a: {id}{version} of {}", self.namespace).into_bytes();
        let digest = digest_of(&content);
        let state = |state| VersionChange { policy: policy(id), version, state, digest: digest.clone() };
        self.write(EventKind::Draft, vec![state(VersionState::Draft)], vec![]);
        self.write(EventKind::Publish, vec![state(VersionState::Published)], vec![]);
        let moved = PointerChange { policy: policy(id), version, digest: Some(digest.clone()), previous: version - 1 };
        self.write(EventKind::Activate, vec![], vec![moved]);
        let manifest = self.manifest(id, version, &digest, content.len() as u64);
        self.versions.push((policy(id), version, manifest, content));
    }

    fn manifest(&self, id: &str, version: i64, digest: &Digest, size: u64) -> String {
        let manifest = Manifest {
            store: "s".to_owned(),
            namespace: self.namespace.clone(),
            policy: policy(id),
            version,
            label: None,
            digest: digest.clone(),
            size,
            content_type: "application/yaml".to_owned(),
            author: "a".to_owned(),
            publisher: "b".to_owned(),
            iat: 1,
        };
        jws::sign(TYP_BUNDLE, &manifest.to_bytes().expect("bytes"), &self.key).expect("a token")
    }

    /// Appends an event.
    pub fn write(&mut self, kind: EventKind, versions: Vec<VersionChange>, changes: Vec<PointerChange>) {
        let cursor = self.head.next();
        let statement = if changes.is_empty() { String::new() } else { self.statement(cursor, &changes) };
        let rows = versions.iter().map(|change| RowChange {
            table: "versions".to_owned(),
            key: format!("{}/{}", change.policy, change.version),
            digest: Some(change.digest.clone()),
        });
        let payload = Payload {
            store: "s".to_owned(),
            namespace: self.namespace.clone(),
            epoch: cursor.epoch,
            revision: cursor.revision,
            kind,
            time: Micros(cursor.revision),
            actor: "a".to_owned(),
            request_id: String::new(),
            reason: "a test".to_owned(),
            policy: None,
            rows: rows.collect(),
            versions,
            changes,
            settings: None,
            skipped_validation: false,
            access: None,
            access_revision: 0,
            approvals: Vec::new(),
            statement_digest: (!statement.is_empty()).then(|| digest_of(statement.as_bytes())),
        };
        let payload = serde_json::to_vec(&payload).expect("JSON");
        let hash = event_hash(&self.head.hash, &payload);
        self.events.push(Event {
            namespace: self.namespace.clone(),
            cursor,
            payload,
            prev_hash: self.head.hash,
            hash,
            seal: seal(&hash, &self.seal_key).expect("a seal"),
            seal_key_id: self.seal_key.public().key_id().to_owned(),
            statement,
        });
        self.head = Head { cursor, hash };
    }

    fn statement(&self, cursor: Cursor, changes: &[PointerChange]) -> String {
        let changes = changes.iter().map(|change| StatementChange {
            policy: change.policy.clone(),
            version: change.version,
            digest: change.digest.clone(),
            previous: change.previous,
        });
        let statement = Statement {
            store: "s".to_owned(),
            namespace: self.namespace.clone(),
            epoch: cursor.epoch,
            revision: cursor.revision,
            kind: "ACTIVATE".to_owned(),
            changes: changes.collect(),
            actor: "a".to_owned(),
            reason_digest: digest_of(b"a test"),
            prev: self.head.hash,
            iat: 1,
        };
        jws::sign(TYP_ACTIVATION, &statement.to_bytes().expect("bytes"), &self.key).expect("a token")
    }

    /// Where it ends.
    pub fn head(&self) -> Head {
        self.head
    }
}
