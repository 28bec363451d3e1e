//! Records honest streams of a real server, and writes the vectors that are made of them.
//!
//!     cargo test --test it stream_vectors::record::records -- --exact --ignored

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, pb};
use serde_json::Value;
use tonic::Streaming;

use super::format::{ExpectedSet, StreamVectors, VectorSet, path, written};
use super::lies::{LieCases, NEWEST};
use crate::harness::calls::{NAMESPACE, deactivate, publish, rollback_request, trust};
use crate::harness::keys::{AT_ONCE, rotate};
use crate::harness::signer::now;
use crate::harness::watching::{DEADLINE, get_set};
use crate::harness::{Hub, clock};

/// How much later the late messages are made, in seconds: all earlier checkpoints have expired by then.
const LATER_SECONDS: i64 = 1_800;
const OTHER: &str = "namespaces/other";
/// The filters of the subscribers, by the name with which their messages begin.
const FILTERS: [(&str, &[&str]); 3] = [("all", &[]), ("a", &["a"]), ("ac", &["a", "c"])];

type VectorStream = Streaming<pb::WatchActiveResponse>;

/// The messages that were recorded so far.
#[derive(Default)]
pub struct RecordedMessages {
    /// The parts of each message, by its name.
    pub messages: BTreeMap<String, Vec<pb::WatchActiveResponse>>,
    pub sets: BTreeMap<String, VectorSet>,
    /// The time of the first messages, and of the late ones.
    pub clock: i64,
    pub late: i64,
}

impl RecordedMessages {
    /// Returns a message as one part, as a relay may join several.
    pub fn message(&self, name: &str) -> pb::WatchActiveResponse {
        let parts = self.messages.get(name).unwrap_or_else(|| panic!("no message {name}"));
        let (mut bundles, mut changed, mut tombstones) = (Vec::new(), Vec::new(), Vec::new());
        let mut whole = parts.last().expect("a part").clone();
        for part in parts {
            match &part.message {
                Some(Message::Snapshot(part)) => bundles.extend(part.bundles.iter().cloned()),
                Some(Message::Activation(part)) => {
                    changed.extend(part.bundles.iter().cloned());
                    tombstones.extend(part.tombstones.iter().cloned());
                }
                _ => {}
            }
        }
        match &mut whole.message {
            Some(Message::Snapshot(end)) => end.bundles = bundles,
            Some(Message::Activation(end)) => (end.bundles, end.tombstones) = (changed, tombstones),
            _ => {}
        }
        whole
    }

    async fn open(client: &Client, parent: &str, filter: &[&str]) -> VectorStream {
        let request = pb::WatchActiveRequest {
            targets: vec![pb::WatchTarget {
                parent: parent.to_owned(),
                policies: filter.iter().map(ToString::to_string).collect(),
                ..Default::default()
            }],
            key_cursor: Some(pb::Cursor::default()),
            ..Default::default()
        };
        client.watch_active(request).await.expect("a watch")
    }

    /// Stores the messages up to a heartbeat of a revision, under names that end with a place.
    async fn keep(&mut self, stream: &mut VectorStream, name: &str, place: &str, revision: i64) {
        let mut parts = Vec::new();
        loop {
            let next = tokio::time::timeout(DEADLINE, stream.message()).await.expect("in time");
            let message = next.expect("a message").expect("no end");
            let (kind, at, is_whole) = match message.message.as_ref().expect("a kind that is known") {
                Message::Opened(_) => ("opened", None, true),
                Message::KeyStatement(_) => ("keys", None, true),
                Message::Snapshot(part) => ("snapshot", part.cursor, part.complete),
                Message::Activation(part) => ("activation", part.cursor, part.complete),
                Message::Heartbeat(heartbeat) => ("heartbeat", heartbeat.cursor, true),
                Message::Reconnect(_) | Message::Ended(_) => panic!("told to go: {message:?}"),
            };
            let is_last = kind == "heartbeat" && at.is_some_and(|at| at.revision == revision);
            parts.push(message);
            if !is_whole {
                continue;
            }
            let parts = std::mem::take(&mut parts);
            match kind {
                "opened" => drop(self.messages.insert("opened".to_owned(), parts)),
                "keys" => {
                    // Statements of the other namespace's stream are the same.
                    let known = self.messages.values().any(|known| *known == parts);
                    let count = self.messages.keys().filter(|name| name.starts_with("keys.")).count();
                    if !known {
                        self.messages.insert(format!("keys.{}", count + 1), parts);
                    }
                }
                // Earlier heartbeats are not needed.
                "heartbeat" if !is_last => {}
                _ => drop(self.messages.insert(format!("{name}.{kind}.{place}"), parts)),
            }
            if is_last {
                return;
            }
        }
    }
}

async fn activate(client: &Client, parent: &str, targets: &[(&str, i64)]) {
    let target = |(policy, version): &(&str, i64)| pb::ActivateTarget {
        policy: format!("{parent}/policies/{policy}"),
        to: Some(pb::activate_target::To::Version(*version)),
        expected_active: None,
    };
    let request = pb::ActivateRequest {
        parent: parent.to_owned(),
        targets: targets.iter().map(target).collect(),
        reason: "a vector".to_owned(),
        ..Default::default()
    };
    client.activate(request).await.expect("an activation");
}

/// Returns the current set from GetActive.
async fn set_of_now(client: &Client) -> VectorSet {
    let found = get_set(client).await;
    let cursor = found.cursor.expect("a cursor");
    let policies = found.bundles.into_iter().map(|bundle| {
        let at = bundle.activation.expect("an activation");
        let policy = bundle.name.split('/').nth(3).expect("a policy").to_owned();
        let (version, digest) = (bundle.version, bundle.digest);
        (policy, ExpectedSet { version, digest, epoch: at.epoch, revision: at.revision })
    });
    VectorSet { epoch: cursor.epoch, revision: cursor.revision, policies: policies.collect() }
}

/// Records a namespace whose policies have the same names.
async fn other_namespace(client: &Client, recorded: &mut RecordedMessages) {
    let namespace = pb::CreateNamespaceRequest { namespace_id: "other".to_owned(), ..Default::default() };
    client.create_namespace(namespace).await.expect("a namespace");
    let draft = pb::DraftRequest {
        parent: format!("{OTHER}/policies/a"),
        content: b"{\"a\":\"other\"}".to_vec().into(),
        content_type: "application/json".to_owned(),
        allow_missing: true,
        ..Default::default()
    };
    let version = client.draft(draft).await.expect("a draft").version.expect("a version");
    let publish = pb::PublishRequest { name: version.name, ..Default::default() };
    client.publish(publish).await.expect("a publication");
    let head = async || {
        let request = pb::GetNamespaceRequest { name: OTHER.to_owned() };
        let found = client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace");
        found.head.expect("a head").revision
    };
    let mut stream = RecordedMessages::open(client, OTHER, &[]).await;
    recorded.keep(&mut stream, "other", "p0", head().await).await;
    activate(client, OTHER, &[("a", 1)]).await;
    recorded.keep(&mut stream, "other", "p1", head().await).await;
    recorded.keep(&mut RecordedMessages::open(client, OTHER, &[]).await, "other", "p1", head().await).await;
}

/// Makes the changes of a place.
async fn step(client: &Client, place: usize) {
    match place {
        1 => activate(client, NAMESPACE, &[("a", 1)]).await,
        2 => activate(client, NAMESPACE, &[("b", 1)]).await,
        3 => activate(client, NAMESPACE, &[("a", 2), ("b", 2)]).await,
        4 => drop(client.rollback(rollback_request("a", 0)).await.expect("a rollback")),
        5 => activate(client, NAMESPACE, &[("c", 1)]).await,
        6 => drop(deactivate(client, "b").await),
        7 => {
            rotate(client).await;
            activate(client, NAMESPACE, &[("a", 3)]).await;
        }
        _ => {}
    }
}

/// Records a history from its beginning: streams that are open all the time, and those that begin at each place.
async fn history(hub: &Hub, client: &Client) -> RecordedMessages {
    let mut recorded = RecordedMessages::default();
    for (policy, versions) in [("a", 3), ("b", 2), ("c", 1)] {
        for version in 1..=versions {
            publish(client, policy, &format!("{policy}: {version}")).await;
        }
    }
    let mut open = Vec::new();
    for (name, filter) in FILTERS {
        open.push((name, RecordedMessages::open(client, NAMESPACE, filter).await));
    }
    for place in 0..=7 {
        step(client, place).await;
        let (place, set) = (format!("p{place}"), set_of_now(client).await);
        for (name, stream) in &mut open {
            recorded.keep(stream, name, &place, set.revision).await;
        }
        for (name, filter) in FILTERS {
            let mut stream = RecordedMessages::open(client, NAMESPACE, filter).await;
            recorded.keep(&mut stream, name, &place, set.revision).await;
        }
        recorded.sets.insert(place, set);
    }
    // Keep the first and the last key statement: which ones came in between depends on when a heartbeat was due.
    let keys: Vec<String> = recorded.messages.keys().filter(|name| name.starts_with("keys.")).cloned().collect();
    let last = recorded.message(keys.last().expect("key statements"));
    for name in keys.iter().skip(1) {
        recorded.messages.remove(name);
    }
    recorded.messages.insert("keys.2".to_owned(), vec![last]);
    other_namespace(client, &mut recorded).await;
    recorded.clock = now();
    clock::shift(hub.dir.path(), LATER_SECONDS);
    recorded.late = now() + LATER_SECONDS;
    let set = set_of_now(client).await;
    for (name, filter) in FILTERS {
        let late = async |recorded: &mut RecordedMessages| {
            let mut stream = RecordedMessages::open(client, NAMESPACE, filter).await;
            recorded.keep(&mut stream, name, "late", set.revision).await;
        };
        // Until the server has made a checkpoint by its shifted clock.
        while !is_late(&recorded, name) {
            late(&mut recorded).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    recorded
}

fn is_late(recorded: &RecordedMessages, name: &str) -> bool {
    let checkpoints = ["snapshot", "heartbeat"].map(|kind| {
        let message = recorded.messages.get(&format!("{name}.{kind}.late"))?.last()?.message.as_ref()?;
        match message {
            Message::Snapshot(part) => Some(part.checkpoint.clone()),
            Message::Heartbeat(heartbeat) => Some(heartbeat.checkpoint.clone()),
            _ => None,
        }
    });
    checkpoints.into_iter().all(|token| token.is_some_and(|token| issued(&token) > recorded.clock + LATER_SECONDS / 2))
}

/// Returns the issue time of a token.
fn issued(token: &str) -> i64 {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).expect("a payload");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice::<Value>(&payload).expect("JSON")["iat"].as_i64().expect("a time")
}

#[tokio::test]
#[ignore = "writes tests/vectors/streams/streams.json anew, from another server"]
async fn records() {
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    clock::build(dir.path());
    let url = format!("sqlite://{}", dir.path().join("data/policyhub.db").display());
    let hub = Hub::start_on(dir, url, AT_ONCE).await;
    let client = hub.client().await;
    let trust = trust(&client).await;
    let recorded = history(&hub, &client).await;
    let (cases, made) = LieCases::of(&recorded);
    let vectors = StreamVectors {
        store: trust.store,
        pins: trust.keys.to_jwks(),
        sets: recorded.sets.clone(),
        messages: recorded.messages.iter().chain(&made).map(|(name, parts)| (name.clone(), written(parts))).collect(),
        cases,
    };
    assert!(vectors.sets.contains_key(NEWEST));
    let text = serde_json::to_string_pretty(&vectors).expect("JSON");
    std::fs::write(path(), text + "\n").expect("written");
}
