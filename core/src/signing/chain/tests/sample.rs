//! A log for tests, made with keys of its own: versions are drafted, published and activated in turns.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "code of tests, in a build of its own for those of other packages"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Event, EventKind, Head, Payload, PointerChange, RowChange, VersionChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::row::{Cell, Row, RowBytes};
use crate::domain::time::Micros;
use crate::domain::version::VersionState;
use crate::signing::chain::LogTrust;
use crate::signing::payload::{Manifest, Statement, StatementChange};
use crate::signing::{
    Algorithm, KeySet, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, digest_of, event_hash, jws, sign_event_hash,
};

/// The log, and what it was made with.
pub struct SampleLog {
    /// What a verifier knows.
    pub trust: LogTrust,
    /// Whose log it is.
    pub namespace: NamespaceId,
    /// The log.
    pub events: Vec<Event>,
    /// Published versions: policy, number, manifest, content.
    pub versions: Vec<(PolicyId, i64, String, Vec<u8>)>,
    /// Rows as they are, by table and key.
    pub rows: BTreeMap<(String, String), Vec<u8>>,
    written: Vec<RowChange>,
    key: Arc<PrivateKey>,
    seal_key: Arc<PrivateKey>,
    head: Head,
}

fn private() -> Arc<PrivateKey> {
    let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
    Arc::new(PrivateKey::from_pem(&pem).expect("the same key"))
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// Returns a policy.
pub fn policy(id: &str) -> PolicyId {
    PolicyId::parse("policy", id).expect("an id")
}

impl SampleLog {
    /// Returns an empty log.
    pub fn empty(namespace: &str) -> Self {
        let (key, seal_key) = (private(), private());
        let set = |key: &PrivateKey| KeySet::from_keys(vec![key.public().clone()]);
        let trust = LogTrust { store: "s".to_owned(), keys: set(&key), seal_keys: set(&seal_key) };
        let namespace = NamespaceId::parse("namespace", namespace).expect("an id");
        let head = Head { cursor: Cursor { epoch: 1, revision: 0 }, hash: [0; 32] };
        let (events, versions, rows, written) = Default::default();
        Self { trust, namespace, events, versions, rows, written, key, seal_key, head }
    }

    /// Returns the same keys for another namespace.
    pub fn beside(&self, namespace: &str) -> Self {
        let [key, seal_key] = [&self.key, &self.seal_key].map(Arc::clone);
        Self { trust: self.trust.clone(), key, seal_key, ..Self::empty(namespace) }
    }

    /// Returns two policies, each drafted, published and activated `rounds` times.
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
        let state = |state| VersionChange { policy: policy(id), version, state, digest: digest.clone(), adopted: None };
        self.row("policies", &[("id", text(id)), ("latest_version", Cell::Int(version))]);
        self.version_row(id, version, VersionState::Draft, &content);
        self.write(EventKind::Draft, vec![state(VersionState::Draft)], vec![]);
        self.version_row(id, version, VersionState::Published, &content);
        let report = [("policy", text(id)), ("number", Cell::Int(version)), ("body", text("{}"))];
        self.row("reports", &report);
        self.write(EventKind::Publish, vec![state(VersionState::Published)], vec![]);
        let moved = PointerChange { policy: policy(id), version, digest: Some(digest.clone()), previous: version - 1 };
        self.write(EventKind::Activate, vec![], vec![moved]);
        let manifest = self.manifest(id, version, &digest, content.len() as u64);
        self.versions.push((policy(id), version, manifest, content));
    }

    fn version_row(&mut self, id: &str, version: i64, state: VersionState, content: &[u8]) {
        let columns = [
            ("policy", text(id)),
            ("number", Cell::Int(version)),
            ("state", text(state.as_str())),
            ("digest", text(digest_of(content).as_str())),
            ("size_bytes", Cell::Int(i64::try_from(content.len()).expect("small"))),
            ("content_type", text("application/yaml")),
            ("author", text("a")),
            ("publisher", text("b")),
        ];
        self.row("versions", &columns);
    }

    /// Writes a row, for the next event to name.
    pub fn row(&mut self, table: &str, columns: &[(&str, Cell)]) {
        let mut bytes = RowBytes::of(table).expect("short");
        bytes.add("namespace", &text(self.namespace.as_str())).expect("short");
        for (column, cell) in columns {
            bytes.add(column, cell).expect("short");
        }
        let bytes = bytes.end();
        let key = Row::read(&bytes).and_then(|row| row.key()).expect("a row");
        let (table, digest) = (table.to_owned(), Some(digest_of(&bytes)));
        self.written.push(RowChange { table: table.clone(), key: key.clone(), digest });
        self.rows.insert((table, key), bytes);
    }

    /// Adds the event of another log that was imported to its end.
    pub fn import(&mut self, other: &Self) {
        let (trust, head) = (&other.trust, other.head);
        self.row(
            "imports",
            &[
                ("position", Cell::Int(1)),
                ("store", text(&trust.store)),
                ("source", text(other.namespace.as_str())),
                ("jwks", text(&trust.keys.to_jwks().to_string())),
                ("seal_jwks", text(&trust.seal_keys.to_jwks().to_string())),
                ("reached_epoch", Cell::Int(head.cursor.epoch)),
                ("reached_revision", Cell::Int(head.cursor.revision)),
                ("reached_hash", Cell::Bytes(head.hash.to_vec())),
            ],
        );
        self.write(EventKind::ImportNamespace, vec![], vec![]);
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
            annotations: Default::default(),
            requires: Vec::new(),
            adopted: None,
            template: None,
            iat: 1,
            origin: None,
        };
        jws::sign(TYP_BUNDLE, &manifest.to_bytes().expect("bytes"), &self.key).expect("a token")
    }

    /// Appends an event.
    pub fn write(&mut self, kind: EventKind, versions: Vec<VersionChange>, changes: Vec<PointerChange>) {
        let makes_policy = kind == EventKind::Draft && versions.iter().any(|change| change.version == 1);
        let cursor = self.head.next();
        let statement = if changes.is_empty() { String::new() } else { self.statement(cursor, &changes) };
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
            policy: versions.first().map(|change| change.policy.clone()),
            rows: std::mem::take(&mut self.written),
            versions,
            changes,
            settings: makes_policy.then(|| serde_json::json!({})),
            skipped_validation: false,
            access: None,
            access_revision: 0,
            approvals: Vec::new(),
            statement_digest: (!statement.is_empty()).then(|| digest_of(statement.as_bytes())),
            active_set_root: None,
            imported: Vec::new(),
            settings_read: Vec::new(),
            schedule: None,
        };
        let payload = serde_json::to_vec(&payload).expect("JSON");
        let hash = event_hash(&self.head.hash, &payload);
        self.events.push(Event {
            namespace: self.namespace.clone(),
            cursor,
            payload,
            prev_hash: self.head.hash,
            hash,
            seal: sign_event_hash(&hash, &self.seal_key).expect("a seal"),
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
            active_set_root: None,
            iat: 1,
        };
        jws::sign(TYP_ACTIVATION, &statement.to_bytes().expect("bytes"), &self.key).expect("a token")
    }

    /// Returns where it ends.
    pub fn head(&self) -> Head {
        self.head
    }
}
