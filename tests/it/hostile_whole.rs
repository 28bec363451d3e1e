//! A hub that lies about the whole and its freshness, against the SDK's watcher: snapshots and heartbeats, as `hostile` does it
//! with activations.

use policyhub::client::pb::watch_active_response::Message as Said;
use policyhub::client::pb::{Heartbeat, Snapshot};
use policyhub::client::signing::{TYP_CHECKPOINT, digest_of};
use serde_json::{Value, json};

use crate::harness::liar::{Liar, said};
use crate::harness::signer::{Place, Signer, cursor, versions, with};
use crate::hostile::{Case, DIVERGED, FAR, REJECTED, activated, play};

/// Snapshots, after the true one: older, mixed, incomplete, of others.
fn snapshots(liar: &Liar) -> Vec<Case> {
    let signer = &liar.signer;
    let told = |snapshot: Snapshot| vec![said(Said::Snapshot(snapshot))];
    let lie = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = signer.snapshot(10);
        change(&mut snapshot);
        told(snapshot)
    };
    let proves = |place: Place, set: i64, age: i64, ttl: i64| {
        let checkpoint = signer.token(TYP_CHECKPOINT, &signer.checkpoint(place, &versions(set), age, ttl));
        lie(&|s| s.checkpoint.clone_from(&checkpoint))
    };
    let (at_4, at_6) = (signer.snapshot(4), signer.snapshot(6));
    let moved = |place: Place| told(Snapshot { cursor: cursor(place), checkpoint: String::new(), ..at_4.clone() });
    let mixed = Snapshot {
        bundles: vec![at_6.bundles[0].clone(), signer.snapshot(8).bundles[1].clone()],
        checkpoint: String::new(),
        ..signer.snapshot(10)
    };
    let unproven = Snapshot { checkpoint: String::new(), ..signer.snapshot(10) };
    let elsewhere = Signer { namespace: "other".to_owned(), ..Signer::new() };
    vec![
        ("an older snapshot", DIVERGED, "is not after 1:6", told(at_4.clone())),
        ("an older snapshot at a place out of reach", REJECTED, "too far ahead", moved((1, FAR))),
        ("a mix of two moments", DIVERGED, "older than another statement", told(mixed)),
        ("a policy of the set left out", DIVERGED, "digest of the snapshot", lie(&|s| drop(s.bundles.pop()))),
        ("nothing left of the set", DIVERGED, "digest of the snapshot", lie(&|s| s.bundles.clear())),
        (
            "another digest of the set",
            DIVERGED,
            "digest of the snapshot",
            lie(&|s| s.active_set_digest = digest_of(b"").to_string()),
        ),
        ("a checkpoint of another set", DIVERGED, "digest of the checkpoint", proves((1, 10), 8, 0, 900)),
        ("a checkpoint of another place", REJECTED, "signed for 1:11, not 1:10", proves((1, 11), 10, 0, 900)),
        ("a checkpoint that lives for ever", REJECTED, "lifetime", proves((1, 10), 10, 0, FAR / 2)),
        ("a policy of a snapshot twice", REJECTED, "there twice", lie(&|s| s.bundles.push(s.bundles[0].clone()))),
        ("a preview", REJECTED, "is a preview", lie(&|s| s.bundles[0].preview = true)),
        ("an entry without its bundle", REJECTED, "bundle is absent", lie(&|s| s.bundles[0].bundle = None)),
        (
            "another revision beside a statement",
            REJECTED,
            "statement is signed for",
            lie(&|s| s.bundles[0].revision = 9),
        ),
        (
            "statements swapped",
            REJECTED,
            "statement is signed for",
            lie(&|s| s.bundles[0].statement = s.bundles[1].statement.clone()),
        ),
        ("an entry from behind the place", REJECTED, "statement is signed for", lie(&|s| s.cursor = cursor((1, 9)))),
        ("a snapshot of another namespace", REJECTED, "key is not known", told(elsewhere.snapshot(10))),
        ("an empty part", REJECTED, "part of a snapshot is empty", told(Snapshot::default())),
        (
            "an activation between the parts",
            REJECTED,
            "before a whole snapshot",
            [told(Snapshot { complete: false, ..unproven.clone() }), activated(signer.logged(8))].concat(),
        ),
        (
            "a heartbeat between the parts",
            REJECTED,
            "before a whole snapshot",
            [told(Snapshot { complete: false, ..unproven }), vec![said(Said::Heartbeat(signer.heartbeat(6, 0)))]]
                .concat(),
        ),
    ]
}

/// Heartbeats, after the true snapshot.
fn heartbeats(liar: &Liar) -> Vec<Case> {
    let signer = &liar.signer;
    let told = |heartbeat: Heartbeat| vec![said(Said::Heartbeat(heartbeat))];
    let says = |members: Value| {
        let checkpoint = with(signer.checkpoint((1, 6), &versions(6), 0, 900), &members);
        told(Heartbeat { checkpoint: signer.token(TYP_CHECKPOINT, &checkpoint), ..signer.heartbeat(6, 0) })
    };
    vec![
        ("a heartbeat that goes back", DIVERGED, "is not after 1:6", told(signer.heartbeat(4, 0))),
        (
            "a heartbeat of another set",
            DIVERGED,
            "digest of the checkpoint",
            says(json!({ "active_set_digest": digest_of(b"").to_string() })),
        ),
        ("a heartbeat of another namespace", REJECTED, "namespace other", says(json!({ "namespace": "other" }))),
        ("a heartbeat of another store", DIVERGED, "store store-2", says(json!({ "store": "store-2" }))),
        ("a heartbeat by a stranger", REJECTED, "key is not known", told(Signer::new().heartbeat(6, 0))),
        (
            "a heartbeat out of reach",
            REJECTED,
            "too far ahead",
            told(Heartbeat { cursor: cursor((1, FAR)), ..signer.heartbeat(6, 0) }),
        ),
        (
            "a heartbeat without its checkpoint",
            REJECTED,
            "three parts",
            told(Heartbeat { checkpoint: String::new(), ..signer.heartbeat(6, 0) }),
        ),
        (
            "a heartbeat without its place",
            REJECTED,
            "absent or negative",
            told(Heartbeat { cursor: None, ..signer.heartbeat(6, 0) }),
        ),
        (
            "a checkpoint that goes back",
            DIVERGED,
            "is not after",
            [told(Heartbeat { cursor: cursor((1, 7)), ..signer.heartbeat(6, 0) }), says(json!({ "revision": 5 }))]
                .concat(),
        ),
        (
            "a statement as a checkpoint",
            REJECTED,
            "typ is not",
            told(Heartbeat { checkpoint: signer.logged(8).statement, ..signer.heartbeat(6, 0) }),
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn lies_about_the_whole() {
    assert_eq!(play(snapshots).await, 19);
}

#[tokio::test(start_paused = true)]
async fn lies_about_freshness() {
    assert_eq!(play(heartbeats).await, 10);
}
