//! The messages of a watch: a snapshot, then every activation, in parts, filtered, without contents, and heartbeats.

use std::collections::BTreeSet;

use policyhub::client::name::PolicyId;
use policyhub::client::pb::activate_target::To;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::signing::{ActiveLeaf, ActiveSetTree, verify_checkpoint};
use policyhub::client::{ActiveSetOptions, Cursor, SetChange, WatchOptions, pb, watch};
use policyhub::domain::digest::{ActiveSetRoot, Digest};
use prost::Message as _;
use tonic::Code;

use crate::harness::calls::{self, NAMESPACE, Revision as _, activate, draft, policy, publish, release};
use crate::harness::on_both_databases;
use crate::harness::watching::{self, LIVELY, activation, change, everything, held, in_force, open};

const PART_MAX_BYTES: usize = 2 * 1024 * 1024;

fn only(ids: &[&str]) -> ActiveSetOptions {
    let policies: BTreeSet<PolicyId> = ids.iter().map(|id| PolicyId::parse("policy", id).expect("an id")).collect();
    ActiveSetOptions { policies, ..Default::default() }
}

async fn deactivate(client: &policyhub::client::Client, id: &str) -> i64 {
    let request = pb::DeactivateRequest { name: policy(id), reason: "a test".to_owned(), ..Default::default() };
    client.deactivate(request).await.expect("a deactivation").cursor.revision()
}

/// Returns the root of a set from ListActive, all of which was activated in the first epoch.
fn root_of(set: &pb::ListActiveResponse) -> ActiveSetRoot {
    let mut tree = ActiveSetTree::new();
    for active in &set.bundles {
        let bundle = active;
        let policy = PolicyId::parse("policy", bundle.name.split('/').nth(3).expect("a policy")).expect("an id");
        let digest = Digest::parse("digest", &bundle.digest).expect("a digest");
        let activated_at = Cursor { epoch: 1, revision: active.activation.expect("a cursor").revision };
        tree.insert(ActiveLeaf { policy: &policy, version: bundle.version, digest: &digest, activated_at });
    }
    ActiveSetRoot(tree.root())
}

on_both_databases! {
    async fn the_first_message_comes_at_once_also_of_nothing(hub: Hub) {
        let client = hub.client().await;
        let mut watch = open(&client).await;
        let (message, change) = watching::next(&mut watch).await;
        let Some(Message::Snapshot(part)) = message.message else { panic!("not a snapshot") };
        assert!(part.complete && part.bundles.is_empty());
        assert_eq!(part.cursor.expect("a cursor").revision, watching::head(&client).await);
        assert!(matches!(change, SetChange::Replaced { policies, .. } if policies.is_empty()));
    }

    async fn a_snapshot_then_every_activation(hub: Hub) {
        let client = hub.client().await;
        release(&client, "a", "a: 1").await;
        release(&client, "b", "b: 1").await;
        let mut watch = open(&client).await;
        assert!(matches!(change(&mut watch).await, SetChange::Replaced { .. }));
        assert_eq!(held(&watch), in_force(&client).await);
        assert_eq!(held(&watch).keys().collect::<Vec<_>>(), ["a", "b"]);

        publish(&client, "a", "a: 2").await;
        let revision = activate(&client, "a", 2).await;
        assert_eq!(activation(&mut watch).await, (revision, vec!["a@2".to_owned()], vec![]));

        let request = pb::RollbackRequest { name: policy("a"), reason: "back".to_owned(), ..Default::default() };
        let revision = client.rollback(request).await.expect("a rollback").cursor.revision();
        match change(&mut watch).await {
            SetChange::Activated { cursor, kind, actor, changed, .. } => {
                assert_eq!((cursor.revision, kind.as_str(), actor.as_str()), (revision, "ROLLBACK", "local:admin"));
                assert_eq!(changed.first().map(|active| active.version), Some(1));
            }
            other => panic!("{other:?}"),
        }

        let drafted = draft(&client, "b", "b: 2").await;
        let request = pb::PublishRequest {
            name: drafted.name,
            activate: true,
            reason: "at once".to_owned(),
            ..Default::default()
        };
        let revision = client.publish(request).await.expect("a publication").cursor.revision();
        assert_eq!(activation(&mut watch).await, (revision, vec!["b@2".to_owned()], vec![]));

        let revision = deactivate(&client, "b").await;
        assert_eq!(activation(&mut watch).await, (revision, vec![], vec!["b".to_owned()]));
        assert_eq!(held(&watch), in_force(&client).await);
        assert_eq!(held(&watch).keys().collect::<Vec<_>>(), ["a"]);
    }

    async fn a_large_snapshot_comes_in_parts(hub: Hub) {
        let client = hub.client().await;
        for index in 0..5 {
            let content = format!("text: {}{index}", "x".repeat(900 * 1024));
            release(&client, &format!("large-{index}"), &content).await;
        }
        release(&client, "small", "a: 1").await;
        let mut watch = open(&client).await;
        let mut parts = Vec::new();
        loop {
            let (message, change) = watching::next(&mut watch).await;
            let bytes = message.encoded_len();
            let Some(Message::Snapshot(part)) = message.message else { panic!("not a snapshot") };
            assert!(bytes <= PART_MAX_BYTES, "a part of {bytes} bytes");
            let cursor = part.cursor;
            assert_eq!(cursor.is_some(), part.complete, "the cursor is on the last part and on no other");
            parts.push(part.bundles.len());
            if part.complete {
                assert!(matches!(change, SetChange::Replaced { .. }));
                break;
            }
            assert!(matches!(change, SetChange::SnapshotPart { .. }), "a part changes nothing");
            assert!(held(&watch).is_empty());
        }
        assert!(parts.len() >= 3, "{parts:?}");
        assert_eq!(parts.iter().sum::<usize>(), 6);
        assert_eq!(held(&watch), in_force(&client).await);
    }

    async fn an_activation_of_several_policies_is_one_message(hub: Hub) {
        let client = hub.client().await;
        let ids = ["a", "b", "c", "d", "e"];
        for id in ids {
            publish(&client, id, "a: 1").await;
        }
        let mut watch = open(&client).await;
        change(&mut watch).await;
        let targets = ids.iter().map(|id| pb::ActivateTarget { policy: policy(id), to: Some(To::Version(1)), ..Default::default() });
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: targets.collect(),
            reason: "all or none".to_owned(),
            ..Default::default()
        };
        let revision = client.activate(request).await.expect("an activation").cursor.revision();
        let (seen, changed, removed) = activation(&mut watch).await;
        assert_eq!((seen, removed.len()), (revision, 0));
        assert_eq!(changed, ["a@1", "b@1", "c@1", "d@1", "e@1"]);
        assert_eq!(held(&watch), in_force(&client).await);
    }

    /// Given an activation of many bytes, no message is larger than a client with default settings accepts, whole or filtered.
    async fn a_large_activation_comes_in_parts(hub: Hub) {
        let client = hub.client().await;
        let ids = ["a", "b", "c", "d"];
        for id in ids {
            publish(&client, id, &format!("text: {}", id.repeat(1000 * 1024))).await;
        }
        let mut watches = Vec::new();
        for filter in [&ids[..], &[], &ids[..3], &ids[3..]] {
            let set = only(filter);
            let mut watch = watch(&client, WatchOptions { set, ..everything(&client).await }).await.expect("a watch");
            change(&mut watch).await;
            watches.push((filter, watch));
        }
        let targets = ids.map(|id| pb::ActivateTarget { policy: policy(id), to: Some(To::Version(1)), ..Default::default() });
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: targets.to_vec(),
            reason: "all or none".to_owned(),
            ..Default::default()
        };
        client.activate(request).await.expect("an activation");
        for (filter, mut watch) in watches {
            let mut parts = 0;
            let changed = loop {
                let (message, change) = watching::next(&mut watch).await;
                let bytes = message.encoded_len();
                assert!(bytes <= PART_MAX_BYTES, "a message of {bytes} bytes");
                match change {
                    SetChange::ActivationPart { .. } => assert!(held(&watch).is_empty(), "a part changes nothing"),
                    SetChange::Activated { changed, .. } => break changed.len(),
                    SetChange::Alive { .. } => continue,
                    other => panic!("{other:?}"),
                }
                parts += 1;
            };
            let wanted = if filter.is_empty() { ids.len() } else { filter.len() };
            assert_eq!((changed, held(&watch).len()), (wanted, wanted), "{filter:?}");
            // Two contents fill a message; with a filter, the last part is separate.
            let expected = wanted.div_ceil(2) - usize::from(filter.is_empty());
            assert_eq!(parts, expected, "parts before the last of {filter:?}");
        }
    }

    async fn without_contents_the_proof_is_the_same(hub: Hub) {
        let client = hub.client().await;
        release(&client, "a", "a: 1").await;
        let set = ActiveSetOptions { metadata_only: true, ..Default::default() };
        let mut watch = watch(&client, WatchOptions { set, ..everything(&client).await }).await.expect("a watch");
        let (message, _) = watching::next(&mut watch).await;
        let Some(Message::Snapshot(part)) = message.message else { panic!("not a snapshot") };
        let bundle = part.bundles.first().cloned().expect("a bundle");
        assert!(bundle.content.is_empty() && bundle.size_bytes == 4 && !bundle.manifest.is_empty());
        publish(&client, "a", "a: 22").await;
        activate(&client, "a", 2).await;
        match change(&mut watch).await {
            SetChange::Activated { changed, .. } => assert_eq!(changed[0].content, None),
            other => panic!("{other:?}"),
        }
        assert_eq!(held(&watch), in_force(&client).await);
    }
}

on_both_databases! {
    with LIVELY;

    async fn only_the_policies_asked_for_are_told(hub: Hub) {
        let client = hub.client().await;
        release(&client, "mine", "a: 1").await;
        release(&client, "other", "a: 1").await;
        // One of them does not exist yet.
        let set = only(&["mine", "later"]);
        let mut watch = watch(&client, WatchOptions { set, ..everything(&client).await }).await.expect("a watch");
        assert!(matches!(change(&mut watch).await, SetChange::Replaced { .. }));
        assert_eq!(held(&watch).keys().collect::<Vec<_>>(), ["mine"]);

        release(&client, "other", "a: 2").await;
        let passed = deactivate(&client, "other").await;
        // The stream's cursor advances over events that are not sent.
        assert_eq!(watching::read_to(&mut watch, passed).await, Vec::<i64>::new());

        release(&client, "later", "a: 1").await;
        assert_eq!(activation(&mut watch).await.1, ["later@1"]);
        let both = ["mine", "other"].map(|id| pb::ActivateTarget {
            policy: policy(id),
            to: Some(To::Version(1)),
            ..Default::default()
        });
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: both.to_vec(),
            reason: "one of them is told".to_owned(),
            ..Default::default()
        };
        client.activate(request).await.expect("an activation");
        assert_eq!(activation(&mut watch).await.1, ["mine@1"]);
        let revision = deactivate(&client, "mine").await;
        assert_eq!(activation(&mut watch).await, (revision, vec![], vec!["mine".to_owned()]));
    }

    async fn heartbeats_carry_the_streams_place_and_a_checkpoint(hub: Hub) {
        let client = hub.client().await;
        release(&client, "a", "a: 1").await;
        let mut stream = watching::raw(&client, None).await.expect("a stream");
        let keys = watching::keys(&client).await;
        let mut sent = pb::Cursor::default();
        let mut heartbeats = 0;
        // Drafts move the head and no pointer: the next heartbeat has their cursor.
        while heartbeats < 4 {
            match stream.message().await.expect("a message").expect("a stream").message {
                Some(Message::Snapshot(part)) => sent = part.cursor.expect("a cursor"),
                Some(Message::Heartbeat(heartbeat)) => {
                    let place = heartbeat.cursor.expect("a cursor");
                    assert!(place.revision >= sent.revision, "{place:?} after {sent:?}");
                    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
                    let checkpoint = verify_checkpoint(&heartbeat.checkpoint, &keys, now.as_secs().cast_signed());
                    let checkpoint = checkpoint.expect("a checkpoint that verifies");
                    assert_eq!((checkpoint.epoch, checkpoint.revision), (place.epoch, place.revision));
                    let set = watching::get_set(&client).await;
                    assert_eq!(checkpoint.active_set_root, root_of(&set));
                    if place == set.cursor.expect("a cursor") {
                        heartbeats += 1;
                        draft(&client, "a", &format!("a: 1{heartbeats}")).await;
                    }
                    sent = place;
                }
                Some(Message::Opened(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Given ten activations, the revisions in their answers are those that the stream delivers.
    async fn what_an_activation_answers_is_what_the_stream_tells(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "a", "a: 1").await;
        publish(&client, "a", "a: 2").await;
        let mut watch = open(&client).await;
        change(&mut watch).await;
        let mut answered = Vec::new();
        for round in 0..10 {
            answered.push(calls::activate(&client, "a", 1 + round % 2).await);
        }
        assert_eq!(watching::read_to(&mut watch, answered[9]).await, answered);
    }
}

/// Returns a request to watch everything with a heartbeat as often as this.
fn watch_each(interval_millis: i64) -> pb::WatchActiveRequest {
    let nanos = i32::try_from(interval_millis % 1_000 * 1_000_000).expect("nanoseconds");
    let heartbeat_interval = Some(prost_types::Duration { seconds: interval_millis / 1_000, nanos });
    let target = pb::WatchTarget { parent: NAMESPACE.to_owned(), ..Default::default() };
    pb::WatchActiveRequest { targets: vec![target], heartbeat_interval, ..Default::default() }
}

on_both_databases! {
    with &["--heartbeat-interval-ms", "100"];

    /// Given that a stream asks for a longer interval, it gets a multiple of the server's, up to 30 s, and a shorter one than the server's is the
    /// server's. While it gets two heartbeats, one that did not ask gets as many more as its interval is shorter.
    async fn a_stream_may_ask_for_fewer_heartbeats(hub: Hub) {
        let client = hub.client().await;
        for (asked, told) in [(0, 100), (99, 100), (100, 100), (1_050, 1_000), (30_000, 30_000), (86_400_000, 30_000)] {
            let mut stream = client.watch_active(watch_each(asked)).await.expect("a stream");
            let first = stream.message().await.expect("no error").expect("a message").message;
            let Some(Message::Opened(opened)) = first else { panic!("{first:?}") };
            let interval = opened.heartbeat_interval.expect("an interval");
            assert_eq!(interval.seconds * 1_000 + i64::from(interval.nanos) / 1_000_000, told, "{asked} ms");
        }
        calls::refused(client.watch_active(watch_each(-1)).await, Code::InvalidArgument, "INVALID_ARGUMENT");

        let (usual, seldom) = (watch_each(0), watch_each(1_000));
        let heartbeats = async |request, wanted: usize| {
            let mut stream = client.watch_active(request).await.expect("a stream");
            let mut count = 0;
            while count < wanted {
                let message = stream.message().await.expect("no error").expect("a message").message;
                count += usize::from(matches!(message, Some(Message::Heartbeat(_))));
            }
        };
        let often = std::sync::atomic::AtomicUsize::new(0);
        tokio::select! {
            () = heartbeats(seldom, 2) => {}
            () = async {
                loop {
                    heartbeats(usual.clone(), 1).await;
                    often.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            } => {}
        }
        // Between two of the one lie ten of the other; a busy machine may lose some.
        assert!(often.into_inner() >= 5, "the server has its own interval for the others");
    }
}
