//! Random honest histories of a namespace, and the messages that an honest server sends about them, for all policies and for filters.
//!
//! A cursor is (epoch, revision). Now and then the store loses its tail: the next step raises the epoch and builds on an older set.

use std::collections::{BTreeMap, BTreeSet};

use policyhub::client::name::PolicyId;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::{ActiveLeaf, ActiveSetTree, TYP_ACTIVATION, TYP_CHECKPOINT, digest_of};
use policyhub::client::{Cursor, hex, pb};
use serde_json::json;

use super::random::Random;
use super::signer::{HandSigner, SignedCursor, SignedMove, Versions, content_of, cursor, message, with};

pub const POLICIES: [&str; 4] = ["a", "b", "c", "d"];
/// The filters of subscribers; empty means all policies.
pub const FILTERS: [&[&str]; 4] = [&[], &["a"], &["a", "c"], &["b", "d"]];
const STEPS: i64 = 7;
/// The lifetime of a checkpoint, in seconds. An expired checkpoint is a day old.
pub const TTL_SECONDS: i64 = 900;
const DAY_SECONDS: i64 = 86_400;

/// The policies in force: version and the cursor of its activation.
pub type HistorySet = BTreeMap<&'static str, (i64, SignedCursor)>;

/// One activation.
#[derive(Debug, Clone)]
pub struct HistoryStep {
    pub place: SignedCursor,
    pub moves: Vec<SignedMove>,
    /// The set in force after the step.
    pub set: HistorySet,
}

/// An honest message, with its step and its filter.
#[derive(Debug, Clone)]
pub struct True {
    pub filter: &'static [&'static str],
    pub step: usize,
    pub message: pb::WatchActiveResponse,
}

/// A history, and every honest message about it.
#[derive(Debug)]
pub struct GeneratedHistory {
    pub signer: HandSigner,
    pub steps: Vec<HistoryStep>,
    pub messages: Vec<True>,
}

pub fn tree(set: &HistorySet) -> ActiveSetTree {
    let mut tree = ActiveSetTree::new();
    for (policy, (version, (epoch, revision))) in set {
        let (id, digest) = (id(policy), digest_of(&content_of(policy, *version)));
        let activated_at = Cursor { epoch: *epoch, revision: *revision };
        tree.insert(ActiveLeaf { policy: &id, version: *version, digest: &digest, activated_at });
    }
    tree
}

pub fn id(policy: &str) -> PolicyId {
    PolicyId::parse("policy", policy).expect("an id")
}

fn is_asked(filter: &[&str], policy: &str) -> bool {
    filter.is_empty() || filter.contains(&policy)
}

/// Returns the part of a set that a filter selects.
pub fn asked(set: &HistorySet, filter: &[&str]) -> HistorySet {
    set.iter().filter(|(policy, _)| is_asked(filter, policy)).map(|(policy, held)| (*policy, *held)).collect()
}

impl GeneratedHistory {
    pub fn random(random: &mut Random, signer: HandSigner) -> Self {
        let mut steps: Vec<HistoryStep> = Vec::new();
        for _ in 0..STEPS {
            let is_lost = steps.len() > 2 && random.below(8) == 0;
            let last = if is_lost { random.index(steps.len() - 1) } else { steps.len().saturating_sub(1) };
            let before = steps.get(last).map(|step| step.set.clone()).unwrap_or_default();
            let (epoch, revision) = steps.get(last).map_or((1, 2), |step| step.place);
            let epoch = steps.last().map_or(epoch, |step| step.place.0) + i64::from(is_lost);
            let place = (epoch, revision + 1 + random.below(3));
            let moves = moves(random, &before);
            let mut set = before;
            for (policy, _, version) in &moves {
                match version {
                    0 => drop(set.remove(policy)),
                    _ => drop(set.insert(policy, (*version, place))),
                }
            }
            steps.push(HistoryStep { place, moves, set });
        }
        let mut history = Self { signer, steps, messages: Vec::new() };
        history.messages = history.all_messages();
        history
    }

    /// Returns the step whose set is in force at a cursor.
    pub fn at(&self, place: SignedCursor) -> Option<&HistoryStep> {
        self.steps.iter().find(|step| step.place == place)
    }

    fn all_messages(&self) -> Vec<True> {
        let mut messages = Vec::new();
        for filter in FILTERS {
            for step in 0..self.steps.len() {
                let mut add = |said: Message| messages.push(True { filter, step, message: message(said) });
                for age in [0, DAY_SECONDS] {
                    add(Message::Snapshot(self.snapshot(step, filter, age)));
                    add(Message::Heartbeat(self.heartbeat(step, filter, age)));
                }
                if self.steps[step].moves.iter().any(|(policy, ..)| is_asked(filter, policy)) {
                    add(Message::Activation(self.activation(step, filter)));
                }
            }
        }
        messages
    }

    fn proof(&self, step: usize, filter: &[&str]) -> bytes::Bytes {
        let wanted: BTreeSet<PolicyId> = filter.iter().map(|policy| id(policy)).collect();
        if wanted.is_empty() { bytes::Bytes::new() } else { tree(&self.steps[step].set).prove(&wanted).into() }
    }

    fn checkpoint(&self, step: usize, age: i64) -> String {
        let HistoryStep { place, set, .. } = &self.steps[step];
        let payload = self.signer.checkpoint(*place, &Versions::new(), age, TTL_SECONDS);
        let root = json!({ "active_set_root": hex(&tree(set).root()) });
        self.signer.token(TYP_CHECKPOINT, &with(payload, &root))
    }

    pub fn snapshot(&self, step: usize, filter: &[&str], age: i64) -> pb::Snapshot {
        let HistoryStep { place, set, .. } = &self.steps[step];
        let bundles = asked(set, filter).into_iter().map(|(policy, (version, at))| pb::Bundle {
            activation: cursor(at),
            ..self.signer.bundle(policy, version)
        });
        pb::Snapshot {
            bundles: bundles.collect(),
            complete: true,
            cursor: cursor(*place),
            checkpoint: self.checkpoint(step, age),
            set_proof: self.proof(step, filter),
        }
    }

    fn heartbeat(&self, step: usize, filter: &[&str], age: i64) -> pb::Heartbeat {
        let (checkpoint, set_proof) = (self.checkpoint(step, age), self.proof(step, filter));
        pb::Heartbeat { cursor: cursor(self.steps[step].place), checkpoint, set_proof, ..Default::default() }
    }

    fn activation(&self, step: usize, filter: &[&str]) -> pb::Activation {
        let HistoryStep { place, moves, set } = &self.steps[step];
        let sent: Vec<SignedMove> = moves.iter().filter(|(policy, ..)| is_asked(filter, policy)).copied().collect();
        let root = json!({ "active_set_root": hex(&tree(set).root()) });
        let statement = with(self.signer.statement(*place, moves), &root);
        pb::Activation {
            statement: self.signer.token(TYP_ACTIVATION, &statement),
            set_proof: self.proof(step, filter),
            ..self.signer.activation(*place, &sent)
        }
    }
}

/// Returns the moves of one activation: one policy or several, to a new version, an old one, or none.
fn moves(random: &mut Random, before: &HistorySet) -> Vec<SignedMove> {
    let mut moves = Vec::new();
    while moves.is_empty() {
        for policy in POLICIES {
            let held = before.get(policy).map_or(0, |(version, _)| *version);
            let version = random.below(4);
            if random.below(3) == 0 && version != held {
                moves.push((policy, held, version));
            }
        }
    }
    moves
}
