//! A small valid history, which tests modify.
//!
//! Six events: drafts of `a` and `b` (1, 2), `a` put at 1 (3), `a` at 2 and `b` at 1 (4), `b` at 2 (5), `a` removed (6).

use std::collections::BTreeSet;
use std::time::Duration;

use policyhub::client::signing::event_hash;

use super::CheckFindings;
use super::record::{
    Branch, Cursor, Effect, Intent, Marks, OperationOutcome, Pointers, RecordedEvent, RecordedHistory, RecordedMove,
    RecordedOperation, RecordedRead, RecordedStream, Replica, RoleHolder, StreamEnd, Try, What,
};

/// Returns a cursor of the first epoch.
pub fn at(revision: i64) -> Cursor {
    Cursor { epoch: 1, revision }
}

/// Returns the violations that a validator finds in a history.
pub fn violations(validator: fn(&RecordedHistory, &mut CheckFindings), history: &RecordedHistory) -> Vec<String> {
    let mut findings = CheckFindings::default();
    validator(history, &mut findings);
    findings.violations
}

fn digest(policy: &str, version: i64) -> String {
    if version == 0 { String::new() } else { format!("sha256:{policy}{version}") }
}

fn moved(policy: &str, previous: i64, version: i64) -> RecordedMove {
    RecordedMove { policy: policy.to_owned(), version, digest: digest(policy, version), previous }
}

fn pointers(held: &[(&str, i64)]) -> Pointers {
    held.iter().map(|(policy, version)| ((*policy).to_owned(), (*version, digest(policy, *version)))).collect()
}

/// Returns the message of an event for a stream without a filter.
pub fn activation(event: &RecordedEvent) -> What {
    let there = event.moved.iter().filter(|moved| moved.version > 0);
    let gone = event.moved.iter().filter(|moved| moved.version == 0);
    What::Activation {
        cursor: event.cursor,
        changed: there.map(|moved| (moved.policy.clone(), (moved.version, moved.digest.clone()))).collect(),
        removed: gone.map(|moved| moved.policy.clone()).collect(),
    }
}

fn log() -> Vec<RecordedEvent> {
    let moves = [
        vec![],
        vec![],
        vec![moved("a", 0, 1)],
        vec![moved("a", 1, 2), moved("b", 0, 1)],
        vec![moved("b", 1, 2)],
        vec![moved("a", 2, 0)],
    ];
    let mut prev = [0; 32];
    let event = |(index, moved): (usize, Vec<RecordedMove>)| {
        let revision = i64::try_from(index).expect("a small number") + 1;
        let payload = format!("payload {revision}").into_bytes();
        let hash = event_hash(&prev, &payload);
        let prev_hash = std::mem::replace(&mut prev, hash).to_vec();
        let drafted = ["a", "b"].get(index).map(|policy| (format!("{policy}/1"), digest(policy, 1)));
        let versions = drafted.into_iter().collect();
        let request_id = format!("id-{revision}");
        let (hash, has_root) = (hash.to_vec(), true);
        RecordedEvent { cursor: at(revision), request_id, payload, prev_hash, hash, moved, versions, has_root }
    };
    moves.into_iter().enumerate().map(event).collect()
}

fn operation(revision: i64, intent: Intent, version: Option<(String, String)>) -> RecordedOperation {
    let start = Duration::from_millis(u64::try_from(revision).expect("positive") * 10);
    let outcome = OperationOutcome::Acknowledged(Effect { revision, version });
    let end = start + Duration::from_millis(5);
    RecordedOperation {
        request_id: format!("id-{revision}"),
        intent,
        tries: vec![Try { replica: 0, start, end, outcome }],
    }
}

fn stream(watcher: usize, resume: Option<Cursor>, messages: Vec<What>) -> RecordedStream {
    let (filter, moment) = (BTreeSet::new(), Duration::from_millis(1));
    // Each activation comes when its writer gets the answer, the snapshot and the heartbeat at the ends.
    let came = |what: &What| match what {
        What::Activation { cursor, .. } => moment * 10 * u32::try_from(cursor.revision).expect("small") + moment * 5,
        What::Snapshot { .. } => moment,
        _ => moment * 80,
    };
    let at = messages.iter().map(came).collect();
    RecordedStream {
        watcher,
        replica: 0,
        latest: false,
        filter,
        resume,
        messages,
        end: StreamEnd::Left,
        opened: Duration::ZERO,
        at,
        ended: moment * 100,
        pace: Duration::ZERO,
        silence_max: Duration::from_millis(2_300),
    }
}

/// Returns the history.
pub fn history() -> RecordedHistory {
    let log = log();
    let draft = |policy: &str| Intent::Draft { policy: policy.to_owned(), digest: digest(policy, 1) };
    let drafted = |policy: &str| Some((format!("{policy}/1"), digest(policy, 1)));
    let target = |policy: &str, version, expected| (policy.to_owned(), version, expected);
    let activate = |targets| Intent::Activate { targets };
    let operations = vec![
        operation(1, draft("a"), drafted("a")),
        operation(2, draft("b"), drafted("b")),
        operation(3, activate(vec![target("a", 1, Some(0))]), None),
        operation(4, activate(vec![target("a", 2, Some(1)), target("b", 1, None)]), None),
        operation(5, activate(vec![target("b", 2, None)]), None),
        operation(6, Intent::Deactivate { policy: "a".to_owned(), expected: Some(2) }, None),
    ];
    let read = |start, revision, held: &[(&str, i64)]| {
        let start = Duration::from_millis(start);
        let end = start + Duration::from_millis(1);
        RecordedRead { replica: 0, start, end, cursor: at(revision), pointers: pointers(held), marks: Marks::default() }
    };
    let reads = vec![read(36, 3, &[("a", 1)]), read(47, 4, &[("a", 2), ("b", 1)])];
    let heartbeat = |revision| What::Heartbeat { cursor: Some(at(revision)), degraded: false };
    let after = |revision: i64| log.iter().filter(move |event| event.cursor.revision > revision).map(activation);
    let snapshot = What::Snapshot { cursor: at(2), pointers: Pointers::new() };
    let whole = [snapshot].into_iter().chain(after(2)).chain([heartbeat(6)]).collect();
    let mut streams = vec![stream(0, None, whole), stream(1, Some(at(3)), after(3).collect())];
    streams[1].end = StreamEnd::Ended(String::new());
    let replica = Replica { cursor: at(6), pointers: pointers(&[("b", 2)]), set_digest: "sha256:set".to_owned() };
    let holder =
        RoleHolder { watcher: 0, filter: BTreeSet::new(), cursor: Some(at(6)), pointers: pointers(&[("b", 2)]) };
    RecordedHistory {
        operations,
        reads,
        streams,
        log,
        replicas: vec![replica.clone(), replica],
        holders: vec![holder],
        ..RecordedHistory::default()
    }
}

/// Returns a history whose last event was lost to an older copy, with the epoch raised in its place.
pub fn restored() -> RecordedHistory {
    let mut history = history();
    let at = Duration::from_millis(66);
    let branch = Branch { log: history.log.clone(), copied: at / 2, replaced: at, raised: at };
    let lost = history.log.pop().expect("an event");
    let payload = b"raised".to_vec();
    let prev: [u8; 32] = lost.prev_hash.as_slice().try_into().expect("a hash");
    let hash = event_hash(&prev, &payload).to_vec();
    let cursor = Cursor { epoch: 2, revision: 6 };
    let (request_id, moved) = (String::new(), Vec::new());
    history.log.push(RecordedEvent { cursor, request_id, payload, hash, moved, versions: Vec::new(), ..lost });
    let held = pointers(&[("a", 2), ("b", 2)]);
    for replica in &mut history.replicas {
        (replica.cursor, replica.pointers) = (cursor, held.clone());
    }
    for holder in &mut history.holders {
        (holder.cursor, holder.pointers) = (Some(cursor), held.clone());
    }
    history.branches = vec![branch];
    history
}

/// A restore is no violation, as long as its loss was accepted.
#[test]
fn it_holds_after_a_restore() {
    for (name, validator) in super::VALIDATORS {
        assert_eq!(violations(*validator, &restored()), Vec::<String>::new(), "{name}");
    }
}

/// Every validator makes checks on the valid history and finds no violation.
#[test]
fn it_holds() {
    for (name, validator) in super::VALIDATORS {
        let mut findings = CheckFindings::default();
        validator(&history(), &mut findings);
        assert_eq!(findings.violations, Vec::<String>::new(), "{name}");
        let counts = [
            "answers: ends in order",
            "ledger: failed writes are not",
            "log: no place with two contents",
            "promises: what workloads were told",
            "roles: taken away in time",
        ];
        assert!(findings.checks > 0 || counts.contains(name), "{name} looked at nothing");
    }
}
