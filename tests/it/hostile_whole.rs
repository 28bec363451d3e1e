//! A hostile server that sends forged snapshots and heartbeats to the SDK's watcher, as `hostile` does with activations.

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::pb::{Heartbeat, Snapshot};
use policyhub::client::signing::TYP_CHECKPOINT;
use serde_json::{Value, json};

use crate::harness::hostile_server::{HostileServer, send};
use crate::harness::signer::{HandSigner, SignedCursor, cursor, versions, with};
use crate::hostile::{CONTRADICTED, DIVERGED, FAR, HostileCase, REJECTED, activated, play};

/// Returns snapshots of another time after the honest one: at cursors of their own and with checkpoints of others.
fn snapshots_of_another_time(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    let received = |snapshot: Snapshot| vec![send(Message::Snapshot(snapshot))];
    let at_4 = signer.snapshot(4);
    let moved =
        |place: SignedCursor| received(Snapshot { cursor: cursor(place), checkpoint: String::new(), ..at_4.clone() });
    let nothing = |place| Snapshot { complete: true, cursor: cursor(place), ..Default::default() };
    let newest = signer.snapshot(10).checkpoint;
    let mixed = Snapshot {
        bundles: vec![signer.snapshot(6).bundles[0].clone(), signer.snapshot(8).bundles[1].clone()],
        ..signer.snapshot(10)
    };
    vec![
        ("an older snapshot", DIVERGED, "is not after 1:6", received(at_4.clone())),
        ("an older snapshot at a place out of reach", REJECTED, "three parts", moved((1, FAR))),
        ("an older snapshot at a made-up place", REJECTED, "three parts", moved((1, 1_048_577))),
        (
            "nothing at a made-up place, then an older snapshot, then a true heartbeat",
            REJECTED,
            "three parts",
            [
                received(nothing((1, 1_048_576))),
                moved((1, 1_048_577)),
                vec![send(Message::Heartbeat(signer.heartbeat(10, 0)))],
            ]
            .concat(),
        ),
        (
            "an older snapshot under the newest checkpoint",
            DIVERGED,
            "not the one of the checkpoint",
            received(Snapshot { cursor: cursor((1, 10)), checkpoint: newest.clone(), ..at_4.clone() }),
        ),
        (
            "nothing under the newest checkpoint",
            DIVERGED,
            "not the one of the checkpoint",
            received(Snapshot { checkpoint: newest, ..nothing((1, 10)) }),
        ),
        ("a mix of two moments", DIVERGED, "not the one of the checkpoint", received(mixed)),
    ]
}

/// Returns snapshots after the honest one that are incomplete or of other owners.
fn snapshots(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    let received = |snapshot: Snapshot| vec![send(Message::Snapshot(snapshot))];
    let lie = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = signer.snapshot(10);
        change(&mut snapshot);
        received(snapshot)
    };
    let proves = |place: SignedCursor, set: i64, age: i64, ttl: i64| {
        let checkpoint = signer.token(TYP_CHECKPOINT, &signer.checkpoint(place, &versions(set), age, ttl));
        lie(&|s| s.checkpoint.clone_from(&checkpoint))
    };
    let unproven = Snapshot { checkpoint: String::new(), ..signer.snapshot(10) };
    let elsewhere = HandSigner { namespace: "other".to_owned(), ..HandSigner::new() };
    vec![
        ("a policy of the set left out", DIVERGED, "not the one of the checkpoint", lie(&|s| drop(s.bundles.pop()))),
        ("nothing left of the set", DIVERGED, "not the one of the checkpoint", lie(&|s| s.bundles.clear())),
        ("a checkpoint of another set", DIVERGED, "not the one of the checkpoint", proves((1, 10), 8, 0, 900)),
        ("a checkpoint of another place", REJECTED, "signed for 1:11, not 1:10", proves((1, 11), 10, 0, 900)),
        ("a checkpoint that lives for ever", REJECTED, "lifetime", proves((1, 10), 10, 0, FAR / 2)),
        ("a policy of a snapshot twice", REJECTED, "there twice", lie(&|s| s.bundles.push(s.bundles[0].clone()))),
        ("a preview", REJECTED, "is a preview", lie(&|s| s.bundles[0].preview = true)),
        (
            "an entry without its bundle",
            REJECTED,
            "activation of a bundle is absent",
            lie(&|s| s.bundles[0] = policyhub::client::pb::Bundle::default()),
        ),
        (
            "another activation of a bundle",
            DIVERGED,
            "not the one of the checkpoint",
            lie(&|s| s.bundles[0].activation = cursor((1, 9))),
        ),
        (
            "activations swapped",
            DIVERGED,
            "not the one of the checkpoint",
            lie(&|s| s.bundles[0].activation = s.bundles[1].activation),
        ),
        ("a bundle without its activation", REJECTED, "is absent", lie(&|s| s.bundles[0].activation = None)),
        ("an entry from behind the place", REJECTED, "is signed for", lie(&|s| s.cursor = cursor((1, 9)))),
        ("a snapshot of another namespace", REJECTED, "namespace other", received(elsewhere.snapshot(10))),
        ("an empty part", REJECTED, "part of a snapshot is empty", received(Snapshot::default())),
        (
            "an activation between the parts",
            REJECTED,
            "before a whole snapshot",
            [received(Snapshot { complete: false, ..unproven.clone() }), activated(signer.logged(8))].concat(),
        ),
        (
            "a heartbeat between the parts",
            REJECTED,
            "within a message in parts",
            [
                received(Snapshot { complete: false, ..unproven }),
                vec![send(Message::Heartbeat(signer.heartbeat(6, 0)))],
            ]
            .concat(),
        ),
    ]
}

/// Returns heartbeats after the honest snapshot.
fn heartbeats(hostile: &HostileServer) -> Vec<HostileCase> {
    let signer = &hostile.signer;
    let received = |heartbeat: Heartbeat| vec![send(Message::Heartbeat(heartbeat))];
    let says = |members: Value| {
        let checkpoint = with(signer.checkpoint((1, 6), &versions(6), 0, 900), &members);
        received(Heartbeat { checkpoint: signer.token(TYP_CHECKPOINT, &checkpoint), ..signer.heartbeat(6, 0) })
    };
    vec![
        ("a heartbeat that goes back", DIVERGED, "is not after 1:6", received(signer.heartbeat(4, 0))),
        (CONTRADICTED, DIVERGED, "not the one of the checkpoint", says(json!({ "active_set_root": "11".repeat(32) }))),
        ("a heartbeat of another namespace", REJECTED, "namespace other", says(json!({ "namespace": "other" }))),
        ("a heartbeat of another store", DIVERGED, "store store-2", says(json!({ "store": "store-2" }))),
        ("a heartbeat by a stranger", REJECTED, "key is not known", received(HandSigner::new().heartbeat(6, 0))),
        (
            "a heartbeat out of reach",
            REJECTED,
            "is signed for 1:6",
            received(Heartbeat { cursor: cursor((1, FAR)), ..signer.heartbeat(6, 0) }),
        ),
        (
            "a heartbeat without its checkpoint",
            REJECTED,
            "three parts",
            received(Heartbeat { checkpoint: String::new(), ..signer.heartbeat(6, 0) }),
        ),
        (
            "a heartbeat without its place",
            REJECTED,
            "cursor is absent",
            received(Heartbeat { cursor: None, ..signer.heartbeat(6, 0) }),
        ),
        (
            "a place beside the checkpoint",
            REJECTED,
            "is signed for 1:6, not 1:7",
            received(Heartbeat { cursor: cursor((1, 7)), ..signer.heartbeat(6, 0) }),
        ),
        (
            "a statement as a checkpoint",
            REJECTED,
            "typ is not",
            received(Heartbeat { checkpoint: signer.logged(8).statement, ..signer.heartbeat(6, 0) }),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn lies_about_the_whole() {
    assert_eq!(play(snapshots_of_another_time).await, 7);
    assert_eq!(play(snapshots).await, 16);
}

#[tokio::test(start_paused = true)]
async fn lies_about_freshness() {
    assert_eq!(play(heartbeats).await, 10);
}
