//! Signed messages of a watch, made by hand for the tests: a small honest server, and the means to lie.

use bytes::Bytes;

use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::domain::digest::ActiveSetRoot;
use policyhub_core::domain::event::Cursor;
use policyhub_core::domain::name::{NamespaceId, PolicyId};
use policyhub_core::signing::payload::{Checkpoint, Manifest, Statement, StatementChange};
use policyhub_core::signing::{
    ActiveLeaf, ActiveSetTree, Algorithm, KeySet, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, digest_of,
    jws,
};

pub const NOW: i64 = 1_000_000;

pub fn namespace() -> NamespaceId {
    NamespaceId::parse("namespace", "default").expect("an id")
}

pub fn policy(id: &str) -> PolicyId {
    PolicyId::parse("policy", id).expect("an id")
}

pub fn content(id: &str, version: i64) -> Bytes {
    Bytes::from(format!("{{\"{id}\":{version}}}"))
}

/// A pointer that moves: id, number, number before.
pub type TestMove<'a> = (&'a str, i64, i64);
/// A version in force: id, number, revision of its activation in epoch 1.
pub type SetInForce<'a> = (&'a str, i64, i64);

pub struct MessageSigner {
    pub key: PrivateKey,
    pub namespace: NamespaceId,
    pub store: String,
}

impl MessageSigner {
    pub fn new() -> Self {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let key = PrivateKey::from_pem(&pem).expect("the same key");
        Self { key, namespace: namespace(), store: "store-1".to_owned() }
    }

    pub fn keys(&self) -> KeySet {
        KeySet::from_keys(vec![self.key.public().clone()])
    }

    /// Returns a version, put in force at 7, where most tests move something.
    pub fn bundle(&self, id: &str, version: i64) -> pb::Bundle {
        let content = content(id, version);
        let manifest = Manifest {
            store: self.store.clone(),
            namespace: self.namespace.clone(),
            policy: policy(id),
            version,
            label: None,
            digest: digest_of(&content),
            size: content.len() as u64,
            content_type: "application/json".to_owned(),
            author: "ann".to_owned(),
            publisher: "bob".to_owned(),
            annotations: Default::default(),
            requires: Vec::new(),
            adopted: None,
            template: None,
            iat: NOW,
            origin: None,
        };
        pb::Bundle {
            name: format!("namespaces/{}/policies/{id}/versions/{version}", self.namespace),
            version,
            label: String::new(),
            digest: manifest.digest.to_string(),
            size_bytes: i64::try_from(content.len()).expect("small"),
            content_type: manifest.content_type.clone(),
            content,
            manifest: jws::sign(TYP_BUNDLE, &manifest.to_bytes().expect("bytes"), &self.key).expect("a token"),
            activation: cursor(1, 7),
            preview: false,
        }
    }

    /// Returns a statement without a root, as earlier servers signed them.
    pub fn statement(&self, epoch: i64, revision: i64, moves: &[TestMove<'_>]) -> String {
        self.statement_of(epoch, revision, moves, None)
    }

    pub fn statement_of(
        &self,
        epoch: i64,
        revision: i64,
        moves: &[TestMove<'_>],
        active_set_root: Option<ActiveSetRoot>,
    ) -> String {
        let changes = moves.iter().map(|(id, version, previous)| StatementChange {
            policy: policy(id),
            version: *version,
            digest: (*version != 0).then(|| digest_of(&content(id, *version))),
            previous: *previous,
        });
        let statement = Statement {
            store: self.store.clone(),
            namespace: self.namespace.clone(),
            epoch,
            revision,
            kind: "ACTIVATE".to_owned(),
            changes: changes.collect(),
            actor: "carol".to_owned(),
            reason_digest: digest_of(b"because"),
            prev: [7; 32],
            active_set_root,
            iat: NOW,
        };
        jws::sign(TYP_ACTIVATION, &statement.to_bytes().expect("bytes"), &self.key).expect("a token")
    }

    pub fn checkpoint(&self, epoch: i64, revision: i64, set: &[SetInForce<'_>]) -> String {
        self.checkpoint_at(NOW, epoch, revision, set)
    }

    pub fn checkpoint_at(&self, iat: i64, epoch: i64, revision: i64, set: &[SetInForce<'_>]) -> String {
        let checkpoint = Checkpoint {
            store: self.store.clone(),
            namespace: self.namespace.clone(),
            epoch,
            revision,
            head_hash: [9; 32],
            active_set_root: ActiveSetRoot(tree(set).root()),
            iat,
            exp: iat + 60,
        };
        jws::sign(TYP_CHECKPOINT, &checkpoint.to_bytes().expect("bytes"), &self.key).expect("a token")
    }

    /// Returns an activation as an honest server sends it to a subscriber that holds [`BOTH`].
    pub fn activation(&self, revision: i64, moves: &[TestMove<'_>]) -> pb::Activation {
        self.activation_after(&BOTH, revision, moves)
    }

    /// Returns an activation as an honest server sends it to a subscriber that holds this set.
    pub fn activation_after(&self, held: &[SetInForce<'_>], revision: i64, moves: &[TestMove<'_>]) -> pb::Activation {
        let root = ActiveSetRoot(tree(&after(held, revision, moves)).root());
        let there = moves.iter().filter(|(_, version, _)| *version != 0);
        let gone = moves.iter().filter(|(_, version, _)| *version == 0);
        pb::Activation {
            cursor: cursor(1, revision),
            statement: self.statement_of(1, revision, moves, Some(root)),
            complete: true,
            set_proof: Bytes::new(),
            bundles: there.map(|(id, version, _)| self.active(id, *version, revision)).collect(),
            tombstones: gone.map(|(id, ..)| format!("namespaces/{}/policies/{id}", self.namespace)).collect(),
        }
    }

    /// Returns the last part of a snapshot, with a checkpoint that has expired: it proves what was in force, and is not fresh.
    pub fn last_part(
        &self,
        bundles: Vec<pb::Bundle>,
        revision: i64,
        set: &[SetInForce<'_>],
    ) -> pb::WatchActiveResponse {
        let checkpoint = self.checkpoint_at(NOW - 100, 1, revision, set);
        let (complete, cursor) = (true, cursor(1, revision));
        message(Message::Snapshot(pb::Snapshot { bundles, complete, cursor, checkpoint, ..Default::default() }))
    }

    /// Returns a version, put in force at `revision`.
    pub fn active(&self, id: &str, version: i64, revision: i64) -> pb::Bundle {
        pb::Bundle { activation: cursor(1, revision), ..self.bundle(id, version) }
    }
}

/// Names the policies that most tests hold before something moves.
pub const BOTH: [SetInForce<'static>; 2] = [("a", 1, 3), ("b", 1, 4)];

/// Returns a set after an activation.
pub fn after<'a>(held: &[SetInForce<'a>], revision: i64, moves: &[TestMove<'a>]) -> Vec<SetInForce<'a>> {
    let is_moved = |(id, ..): &&SetInForce<'_>| moves.iter().any(|(moved, ..)| moved == id);
    let stay = held.iter().filter(|each| !is_moved(each)).copied();
    let there = moves.iter().filter(|(_, version, _)| *version != 0).map(|(id, version, _)| (*id, *version, revision));
    stay.chain(there).collect()
}

/// Returns the tree of a set.
pub fn tree(set: &[SetInForce<'_>]) -> ActiveSetTree {
    let mut tree = ActiveSetTree::new();
    for (id, version, revision) in set {
        let (policy, digest) = (policy(id), digest_of(&content(id, *version)));
        let activated_at = Cursor { epoch: 1, revision: *revision };
        tree.insert(ActiveLeaf { policy: &policy, version: *version, digest: &digest, activated_at });
    }
    tree
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields want it")]
pub fn cursor(epoch: i64, revision: i64) -> Option<pb::Cursor> {
    Some(pb::Cursor { epoch, revision, ..Default::default() })
}

pub fn first_part(bundles: Vec<pb::Bundle>) -> pb::WatchActiveResponse {
    message(Message::Snapshot(pb::Snapshot { bundles, ..Default::default() }))
}

pub fn heartbeat(revision: i64, checkpoint: String) -> pb::WatchActiveResponse {
    message(Message::Heartbeat(pb::Heartbeat { cursor: cursor(1, revision), checkpoint, ..Default::default() }))
}

pub fn activation_message(activation: pb::Activation) -> pb::WatchActiveResponse {
    message(Message::Activation(activation))
}

pub fn message(message: Message) -> pb::WatchActiveResponse {
    pb::WatchActiveResponse { message: Some(message), ..Default::default() }
}
