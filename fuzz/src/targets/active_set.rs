//! The client's state machine against a server that may send anything it has ever signed, in any order, and garbage.
//!
//! An input is a script of deliveries from one short, honest log (`log`), with operations that swap, cut and flip. Whatever comes: the held
//! cursor never goes back, a refusal changes nothing, and the held set is what that log had in force there: all of it, or all that the
//! filter selects.

mod log;

use std::collections::BTreeMap;

use policyhub::client::{ActiveSet, ActiveSetOptions, SetChange};
use policyhub::client::{Cursor, pb};
use policyhub::domain::name::NamespaceId;
use policyhub::signing::digest_of;
use prost::Message as _;

use log::{FILTER, FuzzLogState, HONEST, LAST, Log, NOW, STRANGE};

use super::keys::KEYS;

/// Largest number of deliveries of one script.
const STEPS_MAX: usize = 64;

pub fn check(input: &[u8]) {
    let mut bytes = input.iter().copied();
    let Some(settings) = bytes.next() else { return };
    let is_filtered = settings & 2 != 0;
    let policies = if is_filtered { FILTER.clone() } else { Default::default() };
    let options = ActiveSetOptions { policies, latest: settings & 1 != 0, store: None, ..Default::default() };
    let namespace = NamespaceId::parse("namespace", "default").expect("an id");
    let mut set = ActiveSet::new(namespace, KEYS.clone(), options);
    let mut refused = false;
    for _ in 0..STEPS_MAX {
        let (Some(op), Some(revision)) = (bytes.next(), bytes.next()) else { return };
        if op == 0xff {
            set.begin_stream();
            refused = false;
            continue;
        }
        let mut message = delivery(op, i64::from(revision) % LAST + 1, &mut bytes);
        if is_filtered {
            leave_out(&mut message);
        }
        let before = HeldSet::of(&set);
        let outcome = set.apply(&message, NOW);
        let after = HeldSet::of(&set);
        match &outcome {
            // The set may learn that it is not the newest; nothing else changes.
            Err(_) => {
                assert_eq!(
                    (&after.cursor, &after.digest),
                    (&before.cursor, &before.digest),
                    "a refusal changed something"
                );
                assert!(before.fresh || !after.fresh, "a refusal proved something");
            }
            Ok(change) => {
                assert!(!refused, "it went on after a refusal");
                assert!(after.cursor >= before.cursor, "{:?} after {:?}", after.cursor, before.cursor);
                holds(&set, change);
            }
        }
        refused = outcome.is_err();
        // A refusal has a reason.
        if let Err(refusal) = outcome {
            assert!(!refusal.to_string().is_empty());
        }
    }
}

/// The visible state of a set.
#[derive(Debug, PartialEq, Eq)]
struct HeldSet {
    cursor: Option<Cursor>,
    digest: String,
    fresh: bool,
}

impl HeldSet {
    fn of(set: &ActiveSet) -> Self {
        Self { cursor: set.cursor(), digest: set.digest(), fresh: !set.is_stale(NOW) }
    }
}

/// Checks that everything held was in force at its cursor; after a complete change, and when it counts as the newest, it must be exactly
/// what was in force there.
fn holds(set: &ActiveSet, change: &SetChange) {
    let mut held = BTreeMap::new();
    for active in set.policies() {
        let there = HONEST.at(active.activated).get(active.policy.as_str());
        assert_eq!(there, Some(&active.version), "{} was never in force at {:?}", active.policy, active.activated);
        let content = active.content.as_ref().expect("content");
        assert_eq!(digest_of(content), active.digest);
        assert_eq!(content.as_ref(), log::content(active.policy.as_str(), active.version).as_slice());
        held.insert(active.policy.as_str().to_owned(), active.version);
    }
    let wanted = |state: &FuzzLogState| -> FuzzLogState {
        let asked =
            |policy: &String| set.wanted().is_empty() || set.wanted().iter().any(|wanted| wanted.as_str() == policy);
        state.iter().filter(|(policy, _)| asked(policy)).map(|(policy, version)| (policy.clone(), *version)).collect()
    };
    match change {
        SetChange::Replaced { cursor, .. } | SetChange::Alive { cursor, is_newest: true } => {
            assert_eq!(held, wanted(HONEST.at(*cursor)), "at {cursor:?}");
        }
        SetChange::Activated { cursor, changed, removed, .. } => {
            assert_eq!(held, wanted(HONEST.at(*cursor)), "at {cursor:?}");
            let there = HONEST.at(*cursor);
            assert!(changed.iter().all(|active| there.get(active.policy.as_str()) == Some(&active.version)));
            assert!(removed.iter().all(|policy| !there.contains_key(policy.as_str())));
            assert!(removed.iter().all(|policy| !held.contains_key(policy.as_str())));
        }
        SetChange::SnapshotPart { .. } | SetChange::ActivationPart { .. } | SetChange::Alive { .. } => {}
        SetChange::Opened { .. } | SetChange::Keys { .. } | SetChange::Reconnect { .. } | SetChange::Unknown => {}
    }
}

/// Returns one message: its kind, revision and source, and the change made to it.
fn delivery(op: u8, revision: i64, bytes: &mut impl Iterator<Item = u8>) -> pb::WatchActiveResponse {
    let log: &Log = if op & 0x20 != 0 { &STRANGE } else { &HONEST };
    let mut message = log.message(op & 3, revision);
    if op & 4 != 0 {
        let other = i64::from(bytes.next().unwrap_or_default()) % LAST + 1;
        swap(&mut message, log.message(op & 3, other), bytes.next().unwrap_or_default());
    }
    if op & 8 != 0 {
        let mut wire = message.encode_to_vec();
        let place = u16::from_be_bytes([bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default()]);
        let at = usize::from(place) % wire.len().max(1);
        if let Some(byte) = wire.get_mut(at) {
            *byte ^= bytes.next().unwrap_or_default();
        }
        if let Ok(flipped) = pb::WatchActiveResponse::decode(wire.as_slice()) {
            message = flipped;
        }
    }
    message
}

/// Removes what a server would not send to a subscriber with the filter.
fn leave_out(message: &mut pb::WatchActiveResponse) {
    use pb::watch_active_response::Message::{Activation, Snapshot};
    let is_asked = |name: &str| FILTER.iter().any(|policy| name.split('/').nth(3) == Some(policy.as_str()));
    match &mut message.message {
        Some(Activation(activation)) => {
            activation.bundles.retain(|bundle| is_asked(&bundle.name));
            activation.tombstones.retain(|name| is_asked(name));
        }
        Some(Snapshot(part)) => {
            part.bundles.retain(|bundle| is_asked(&bundle.name));
        }
        _ => {}
    }
}

/// Replaces parts of a message by those of another one.
fn swap(message: &mut pb::WatchActiveResponse, other: pb::WatchActiveResponse, parts: u8) {
    use pb::watch_active_response::Message::{Activation, Heartbeat, Snapshot};
    match (message.message.as_mut(), other.message) {
        (Some(Activation(one)), Some(Activation(other))) => {
            take(parts & 1, &mut one.cursor, other.cursor);
            take(parts & 2, &mut one.statement, other.statement);
            take(parts & 4, &mut one.bundles, other.bundles);
            take(parts & 8, &mut one.tombstones, other.tombstones);
            take(parts & 32, &mut one.set_proof, other.set_proof);
            if parts & 16 != 0 {
                one.complete = !one.complete;
            }
        }
        (Some(Heartbeat(one)), Some(Heartbeat(other))) => {
            take(parts & 1, &mut one.cursor, other.cursor);
            take(parts & 2, &mut one.checkpoint, other.checkpoint);
            take(parts & 4, &mut one.set_proof, other.set_proof);
        }
        (Some(Snapshot(one)), Some(Snapshot(other))) => {
            take(parts & 1, &mut one.cursor, other.cursor);
            take(parts & 2, &mut one.checkpoint, other.checkpoint);
            take(parts & 4, &mut one.set_proof, other.set_proof);
            take(parts & 8, &mut one.bundles, other.bundles);
            if parts & 16 != 0 {
                one.complete = !one.complete;
            }
        }
        _ => {}
    }
}

fn take<T>(whether: u8, one: &mut T, other: T) {
    if whether != 0 {
        *one = other;
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let in_order: Vec<u8> = (1..LAST as u8).flat_map(|revision| [0, revision, 2, revision]).collect();
    vec![
        [vec![0, 1, 0], in_order.clone()].concat(),
        [vec![1, 1, 0], in_order.clone()].concat(),
        [vec![2, 1, 1], in_order].concat(),
        vec![0, 1, 3, 2, 3, 0, 4, 0, 4, 0xff, 0, 1, 9, 2, 9],
        vec![0, 1, 0, 4, 1, 5, 1],
        vec![0, 1, 9, 1, 2, 0xff, 0, 1, 9, 0, 10],
        vec![0, 1, 5, 6, 5, 9, 1, 2, 5],
        vec![0, 5, 5, 9, 31, 0x21, 7, 0xff, 0, 8, 9, 0, 40, 1],
    ]
}
