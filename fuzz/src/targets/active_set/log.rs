//! One honest log of a namespace, with all that its server ever signed of it; and the same log signed by an untrusted key.
//!
//! Policies are added, moved, removed and added again, several at once and one at a time; some events move none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Cursor, pb};
use policyhub::domain::digest::ActiveSetRoot;
use policyhub::domain::name::{NamespaceId, PolicyId};
use policyhub::signing::payload::{Checkpoint, Manifest, Statement, StatementChange};
use policyhub::signing::{
    ActiveLeaf, ActiveSetTree, PrivateKey, TYP_ACTIVATION, TYP_BUNDLE, TYP_CHECKPOINT, digest_of, jws,
};

use super::super::keys::{SIGNER, STRANGER};

/// The time at which everything was signed, and is read.
pub const NOW: i64 = 1_700_000_000;
/// The newest revision.
pub const LAST: i64 = 16;
const EPOCH: i64 = 1;

/// The pointers each revision moves: policy and version, 0 for none.
const MOVES: [&[(&str, i64)]; LAST as usize] = [
    &[("a", 1)],
    &[("b", 1), ("c", 1)],
    &[],
    &[("a", 2)],
    &[("a", 1)],
    &[("c", 0)],
    &[],
    &[("b", 2), ("a", 3)],
    &[("c", 1)],
    &[("a", 0), ("b", 0), ("c", 0)],
    &[("a", 3)],
    &[("b", 2), ("c", 2)],
    &[],
    &[("b", 1)],
    &[("b", 2)],
    &[("a", 4), ("b", 0)],
];

pub static HONEST: LazyLock<Log> = LazyLock::new(|| Log::signed(&SIGNER));
pub static STRANGE: LazyLock<Log> = LazyLock::new(|| Log::signed(&STRANGER));

/// The filter of the proofs in every snapshot and heartbeat: a subscriber with this filter accepts them.
pub static FILTER: LazyLock<BTreeSet<PolicyId>> = LazyLock::new(|| ["a", "c"].map(policy_id).into());

/// The versions in force, by policy.
pub type FuzzLogState = BTreeMap<String, i64>;

/// The messages of each revision, beginning with 1, and what was in force.
pub struct Log {
    states: Vec<FuzzLogState>,
    messages: Vec<[pb::WatchActiveResponse; 4]>,
}

/// Returns the content of a version.
pub fn content(policy: &str, version: i64) -> Vec<u8> {
    format!("{{\"{policy}\":{version}}}").into_bytes()
}

impl Log {
    /// Returns what was in force at a cursor; nothing at cursors that do not exist.
    pub fn at(&self, place: Cursor) -> &FuzzLogState {
        static NOTHING: FuzzLogState = FuzzLogState::new();
        let revision = usize::try_from(place.revision).unwrap_or(usize::MAX);
        self.states.get(revision).filter(|_| place.epoch == EPOCH || revision == 0).unwrap_or(&NOTHING)
    }

    /// Returns a message of a revision: the activation, the snapshot, the heartbeat, or a reconnect.
    pub fn message(&self, kind: u8, revision: i64) -> pb::WatchActiveResponse {
        self.messages[revision as usize - 1][usize::from(kind & 3)].clone()
    }

    fn signed(key: &PrivateKey) -> Self {
        let server = FuzzServer { key };
        let (mut states, mut messages) = (vec![FuzzLogState::new()], Vec::new());
        // The revision that last moved each policy.
        let mut moved: BTreeMap<&str, i64> = BTreeMap::new();
        let mut tree = ActiveSetTree::new();
        for (revision, moves) in (1..).zip(MOVES) {
            let before = states.last().expect("a state").clone();
            let mut state = before.clone();
            for (policy, version) in moves {
                let id = policy_id(policy);
                if *version == 0 {
                    state.remove(*policy);
                    tree.remove(&id);
                } else {
                    state.insert((*policy).to_owned(), *version);
                    let digest = digest_of(&content(policy, *version));
                    let activated_at = Cursor { epoch: EPOCH, revision };
                    tree.insert(ActiveLeaf { policy: &id, version: *version, digest: &digest, activated_at });
                }
            }
            let statement = server.statement(revision, moves, &before, &tree);
            moved.extend(moves.iter().map(|(policy, _)| (*policy, revision)));
            messages.push([
                server.activation(revision, moves, (statement, &tree)),
                server.snapshot(revision, (&state, &tree), &moved),
                server.heartbeat(revision, &tree),
                wrapped(Message::Reconnect(pb::Reconnect {
                    reason: pb::ReconnectReason::Draining.into(),
                    ..Default::default()
                })),
            ]);
            states.push(state);
        }
        Self { states, messages }
    }
}

struct FuzzServer<'a> {
    key: &'a PrivateKey,
}

fn namespace() -> NamespaceId {
    NamespaceId::parse("namespace", "default").expect("an id")
}

fn policy_id(policy: &str) -> PolicyId {
    PolicyId::parse("policy", policy).expect("an id")
}

fn cursor(revision: i64) -> Option<pb::Cursor> {
    Some(pb::Cursor { epoch: EPOCH, revision, ..Default::default() })
}

fn wrapped(message: Message) -> pb::WatchActiveResponse {
    pb::WatchActiveResponse { message: Some(message), ..Default::default() }
}

impl FuzzServer<'_> {
    fn sign(&self, typ: &str, payload: policyhub::domain::Result<Vec<u8>>) -> String {
        jws::sign(typ, &payload.expect("bytes"), self.key).expect("a token")
    }

    fn statement(&self, revision: i64, moves: &[(&str, i64)], before: &FuzzLogState, after: &ActiveSetTree) -> String {
        let changes = moves.iter().map(|(policy, version)| StatementChange {
            policy: policy_id(policy),
            version: *version,
            digest: (*version != 0).then(|| digest_of(&content(policy, *version))),
            previous: before.get(*policy).copied().unwrap_or_default(),
        });
        let statement = Statement {
            store: "store".to_owned(),
            namespace: namespace(),
            epoch: EPOCH,
            revision,
            kind: "ACTIVATE".to_owned(),
            changes: changes.collect(),
            actor: "ann".to_owned(),
            reason_digest: digest_of(b"because"),
            prev: [7; 32],
            active_set_root: Some(ActiveSetRoot(after.root())),
            iat: NOW,
        };
        self.sign(TYP_ACTIVATION, statement.to_bytes())
    }

    fn bundle(&self, policy: &str, version: i64) -> pb::Bundle {
        let content = content(policy, version);
        let manifest = Manifest {
            store: "store".to_owned(),
            namespace: namespace(),
            policy: policy_id(policy),
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
            name: format!("namespaces/default/policies/{policy}/versions/{version}"),
            version,
            label: String::new(),
            digest: manifest.digest.to_string(),
            size_bytes: content.len() as i64,
            content_type: manifest.content_type.clone(),
            content: content.into(),
            manifest: self.sign(TYP_BUNDLE, manifest.to_bytes()),
            activation: None,
            preview: false,
        }
    }

    fn activation(
        &self,
        revision: i64,
        moves: &[(&str, i64)],
        (statement, tree): (String, &ActiveSetTree),
    ) -> pb::WatchActiveResponse {
        let there = moves.iter().filter(|(_, version)| *version != 0);
        let gone = moves.iter().filter(|(_, version)| *version == 0);
        wrapped(Message::Activation(pb::Activation {
            cursor: cursor(revision),
            statement,
            bundles: there
                .map(|(policy, version)| pb::Bundle { activation: cursor(revision), ..self.bundle(policy, *version) })
                .collect(),
            tombstones: gone.map(|(policy, _)| format!("namespaces/default/policies/{policy}")).collect(),
            complete: true,
            set_proof: tree.prove(&FILTER).into(),
        }))
    }

    fn checkpoint(&self, revision: i64, tree: &ActiveSetTree) -> String {
        let checkpoint = Checkpoint {
            store: "store".to_owned(),
            namespace: namespace(),
            epoch: EPOCH,
            revision,
            head_hash: [9; 32],
            active_set_root: ActiveSetRoot(tree.root()),
            iat: NOW,
            exp: NOW + 60,
        };
        self.sign(TYP_CHECKPOINT, checkpoint.to_bytes())
    }

    fn snapshot(
        &self,
        revision: i64,
        (state, tree): (&FuzzLogState, &ActiveSetTree),
        moved: &BTreeMap<&str, i64>,
    ) -> pb::WatchActiveResponse {
        let bundles = state.iter().map(|(policy, version)| {
            let activation = cursor(moved[policy.as_str()]);
            pb::Bundle { activation, ..self.bundle(policy, *version) }
        });
        wrapped(Message::Snapshot(pb::Snapshot {
            bundles: bundles.collect(),
            complete: true,
            cursor: cursor(revision),
            checkpoint: self.checkpoint(revision, tree),
            set_proof: tree.prove(&FILTER).into(),
        }))
    }

    fn heartbeat(&self, revision: i64, tree: &ActiveSetTree) -> pb::WatchActiveResponse {
        let (checkpoint, set_proof) = (self.checkpoint(revision, tree), tree.prove(&FILTER).into());
        let cursor = cursor(revision);
        wrapped(Message::Heartbeat(pb::Heartbeat { cursor, checkpoint, set_proof, ..Default::default() }))
    }
}
