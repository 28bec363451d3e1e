//! Messages of a watch, signed by hand: those of a small honest server, and means to forge others.
//!
//! The log: `a` 1 at 1:4; `b` 1 at 1:6; `a` 2 and `b` 2 together at 1:8; `a` back to 1 at 1:10.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use policyhub::client::name::PolicyId;
use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::{
    ActiveLeaf, ActiveSetTree, Algorithm, KeySet, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT,
    active_set_digest, digest_of,
};
use policyhub::client::{Cursor, hex};
use serde_json::{Value, json};

/// A pointer that moves: policy, version before, version after; 0 means none.
pub type SignedMove = (&'static str, i64, i64);
/// A cursor: epoch and revision.
pub type SignedCursor = (i64, i64);
/// The versions in force, by policy.
pub type Versions = BTreeMap<String, i64>;

/// The log, from its first activation on.
pub const LOG: [(SignedCursor, &[SignedMove]); 4] = [
    ((1, 4), &[("a", 0, 1)]),
    ((1, 6), &[("b", 0, 1)]),
    ((1, 8), &[("a", 1, 2), ("b", 1, 2)]),
    ((1, 10), &[("a", 2, 1)]),
];

/// A signing key, and the store that it signs for.
#[derive(Debug)]
pub struct HandSigner {
    pub key: PrivateKey,
    pub store: String,
    pub namespace: String,
}

impl HandSigner {
    /// Returns a signer with a new key.
    pub fn new() -> Self {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let key = PrivateKey::from_pem(&pem).expect("the same key");
        Self { key, store: "store-1".to_owned(), namespace: "default".to_owned() }
    }

    /// Returns the public key as a key set.
    pub fn keys(&self) -> KeySet {
        KeySet::from_keys(vec![self.key.public().clone()])
    }

    /// Returns a valid token.
    pub fn token(&self, typ: &str, payload: &Value) -> String {
        let (alg, kid) = (self.key.public().algorithm().as_str(), self.key.public().key_id());
        self.token_with(&json!({ "alg": alg, "kid": kid, "typ": typ }), payload)
    }

    /// Returns a token with any header.
    pub fn token_with(&self, header: &Value, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(payload));
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Returns the payload of a manifest.
    pub fn manifest(&self, policy: &str, version: i64) -> Value {
        let content = content_of(policy, version);
        json!({
            "store": self.store, "namespace": self.namespace, "policy": policy, "version": version,
            "digest": digest_of(&content).to_string(), "size": content.len(), "content_type": "application/json",
            "author": "ann", "publisher": "bob", "iat": now(),
        })
    }

    /// Returns a published version.
    pub fn bundle(&self, policy: &str, version: i64) -> pb::Bundle {
        self.bundle_with(policy, version, &self.manifest(policy, version))
    }

    /// Returns a published version with any manifest.
    pub fn bundle_with(&self, policy: &str, version: i64, manifest: &Value) -> pb::Bundle {
        let content = content_of(policy, version);
        pb::Bundle {
            name: format!("namespaces/{}/policies/{policy}/versions/{version}", self.namespace),
            version,
            label: String::new(),
            digest: digest_of(&content).to_string(),
            size_bytes: i64::try_from(content.len()).expect("small"),
            content_type: "application/json".to_owned(),
            content,
            manifest: self.token(TYP_BUNDLE, manifest),
            activation: None,
            preview: false,
        }
    }

    /// Returns the payload of a statement, with the root of the set that the log has at this cursor.
    pub fn statement(&self, place: SignedCursor, moves: &[SignedMove]) -> Value {
        let change = |(policy, previous, version): &SignedMove| match version {
            0 => json!({ "policy": policy, "version": 0, "previous": previous }),
            _ => json!({
                "policy": policy, "version": version, "previous": previous,
                "digest": digest_of(&content_of(policy, *version)).to_string(),
            }),
        };
        json!({
            "store": self.store, "namespace": self.namespace, "epoch": place.0, "revision": place.1, "kind": "ACTIVATE",
            "changes": moves.iter().map(change).collect::<Vec<_>>(), "actor": "carol",
            "reason_digest": digest_of(b"because").to_string(), "prev": "07".repeat(32), "iat": now(),
            "active_set_root": root(&versions(place.1), place.1),
        })
    }

    /// Returns the payload of a checkpoint that was made `age` seconds ago and is valid for `ttl` seconds.
    pub fn checkpoint(&self, place: SignedCursor, set: &Versions, age: i64, ttl: i64) -> Value {
        let made = now() - age;
        json!({
            "store": self.store, "namespace": self.namespace, "epoch": place.0, "revision": place.1,
            "head_hash": "09".repeat(32), "active_set_root": root(set, place.1), "iat": made, "exp": made + ttl,
        })
    }

    /// Returns an activation message.
    pub fn activation(&self, place: SignedCursor, moves: &[SignedMove]) -> pb::Activation {
        let there = moves.iter().filter(|(_, _, version)| *version != 0);
        let gone = moves.iter().filter(|(_, _, version)| *version == 0);
        pb::Activation {
            cursor: cursor(place),
            statement: self.token(TYP_ACTIVATION, &self.statement(place, moves)),
            bundles: there
                .map(|(policy, _, version)| pb::Bundle { activation: cursor(place), ..self.bundle(policy, *version) })
                .collect(),
            tombstones: gone.map(|(policy, ..)| format!("namespaces/{}/policies/{policy}", self.namespace)).collect(),
            complete: true,
            ..Default::default()
        }
    }

    /// Returns the activation of the log at this revision.
    pub fn logged(&self, revision: i64) -> pb::Activation {
        let (place, moves) = LOG.iter().find(|(place, _)| place.1 == revision).expect("a place of the log");
        self.activation(*place, moves)
    }

    /// Returns a snapshot of the whole set right after a revision of the log, with a fresh checkpoint.
    pub fn snapshot(&self, revision: i64) -> pb::Snapshot {
        let newest = |policy: &str| {
            let mut moves = LOG.iter().filter(|(place, _)| place.1 <= revision);
            moves.rfind(|(_, moves)| moves.iter().any(|(moved, ..)| *moved == policy)).expect("is active")
        };
        let entry = |(policy, version): (&String, &i64)| pb::Bundle {
            activation: cursor(newest(policy).0),
            ..self.bundle(policy, *version)
        };
        let set = versions(revision);
        pb::Snapshot {
            bundles: set.iter().map(entry).collect(),
            complete: true,
            cursor: cursor((1, revision)),
            checkpoint: self.token(TYP_CHECKPOINT, &self.checkpoint((1, revision), &set, 0, 900)),
            ..Default::default()
        }
    }

    /// Returns a heartbeat at a revision of the log, with a checkpoint made `age` seconds ago.
    pub fn heartbeat(&self, revision: i64, age: i64) -> pb::Heartbeat {
        let checkpoint = self.checkpoint((1, revision), &versions(revision), age, 900);
        let checkpoint = self.token(TYP_CHECKPOINT, &checkpoint);
        pb::Heartbeat { cursor: cursor((1, revision)), checkpoint, ..Default::default() }
    }
}

/// Returns the versions in force right after a revision of the log.
pub fn versions(revision: i64) -> Versions {
    let moves = LOG.iter().filter(|(place, _)| place.1 <= revision).flat_map(|(_, moves)| moves.iter());
    moves.map(|(policy, _, version)| ((*policy).to_owned(), *version)).collect()
}

pub fn content_of(policy: &str, version: i64) -> Bytes {
    Bytes::from(format!("{{\"{policy}\":{version}}}"))
}

pub fn set_digest(set: &Versions) -> String {
    let id = |policy: &String| PolicyId::parse("policy", policy).expect("an id");
    let entries: Vec<_> =
        set.iter().map(|(policy, version)| (id(policy), *version, digest_of(&content_of(policy, *version)))).collect();
    active_set_digest(entries.iter().map(|(id, version, digest)| (id, *version, digest))).to_string()
}

/// Returns the tree of a set at a revision. Each version has the cursor of the newest activation of the log that put it in force.
pub fn tree(set: &Versions, revision: i64) -> ActiveSetTree {
    let mut tree = ActiveSetTree::new();
    for (policy, version) in set {
        let moved = |(place, moves): &&(SignedCursor, &[SignedMove])| {
            place.1 <= revision && moves.iter().any(|(moved, _, to)| moved == policy && to == version)
        };
        let (epoch, revision) = LOG.iter().rfind(moved).map_or((1, 1), |(place, _)| *place);
        let (id, digest) =
            (PolicyId::parse("policy", policy).expect("an id"), digest_of(&content_of(policy, *version)));
        let activated_at = Cursor { epoch, revision };
        tree.insert(ActiveLeaf { policy: &id, version: *version, digest: &digest, activated_at });
    }
    tree
}

/// Returns the root of the set's tree.
pub fn root(set: &Versions, revision: i64) -> String {
    hex(&tree(set, revision).root())
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields want it")]
pub fn cursor((epoch, revision): SignedCursor) -> Option<pb::Cursor> {
    Some(pb::Cursor { epoch, revision, ..Default::default() })
}

/// Returns a JSON object with some members changed.
pub fn with(mut value: Value, members: &Value) -> Value {
    for (name, member) in members.as_object().expect("members") {
        value[name] = member.clone();
    }
    value
}

pub fn message(message: Message) -> pb::WatchActiveResponse {
    pb::WatchActiveResponse { message: Some(message), ..Default::default() }
}

pub fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(elapsed.as_secs()).expect("a time")
}
