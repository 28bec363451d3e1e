//! Which logs a replica looks at: those that moved. What nobody uses costs nothing (docs/guarantees.md#g27).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use policyhub::client::pb;
use policyhub::domain::command::StartWatch;
use policyhub::domain::name::NamespaceId;
use policyhub::domain::time::Micros;
use policyhub::grpc::WatchEncoder;
use policyhub::service::Signer;
use policyhub::signing::KeyDirs;
use policyhub::store::{ChangesAfter, Store};
use policyhub::watch;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use crate::harness::calls::{activate, publish};
use crate::harness::http::metric;
use crate::harness::postgres::Cluster;
use crate::harness::subscribing::eventually;
use crate::harness::{Database, Hub, callers, on_both_databases, stores, watching};

/// Namespaces that are asked for once, and idle afterwards.
const IDLE: usize = 60;
/// What the hubs of tests that no server runs keep.
const RINGS: watch::RingLimits = watch::RingLimits { events: 16, max_bytes: 1024 * 1024 };
/// Activations beside them.
const ACTIVATIONS: usize = 30;

fn namespace(id: &str) -> NamespaceId {
    NamespaceId::parse("namespace", id).expect("an id")
}

fn counted(hub: &Hub, name: &str) -> f64 {
    metric(&hub.http, name).unwrap_or(0.0)
}

/// Returns a hub without signing keys over the store of one that was killed. It serves logs without events.
async fn hub_over(hub: &Hub) -> watch::Hub {
    let store = stores::opened(hub).await;
    let none = Arc::new(KeyDirs::open(Vec::new()).expect("no keys"));
    let signer = Signer::new("store".to_owned(), stores::seal_key(hub), none, Duration::ZERO);
    watch::Hub::new(store, Arc::new(signer), Arc::new(WatchEncoder), RINGS, || Micros(1))
}

on_both_databases! {
    /// Given 60 namespaces that were asked for, activations in another one make the replica look at that one only: the others are
    /// compared by polls, of one a second.
    async fn an_activation_costs_nothing_for_other_namespaces(hub: Hub) {
        let client = hub.client().await;
        for number in 0..IDLE {
            let id = format!("idle-{number}");
            callers::namespace(&client, &id).await;
            let parent = format!("namespaces/{id}");
            client.list_active(pb::ListActiveRequest { parent, ..Default::default() }).await.expect("an active set");
        }
        publish(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let mut watch = watching::open(&client).await;
        watching::change(&mut watch).await;
        let (looks, feeds) = (counted(&hub, "policyhub_tailer_looks_total"), counted(&hub, "policyhub_tailer_feeds_total"));
        for number in 0..ACTIVATIONS {
            let revision = activate(&client, "p", if number % 2 == 0 { 1 } else { 2 }).await;
            assert_eq!(watching::activation(&mut watch).await.0, revision);
        }
        let looks = counted(&hub, "policyhub_tailer_looks_total") - looks;
        let feeds = counted(&hub, "policyhub_tailer_feeds_total") - feeds;
        assert!(looks >= ACTIVATIONS as f64 / 2.0, "{looks} looks");
        assert!(feeds < looks * IDLE as f64 / 2.0, "{feeds} feeds were compared in {looks} looks");
    }

    /// Given feeds that nobody has used between two looks, they are dropped; those with a stream, and those that were asked for, are not.
    async fn unused_feeds_are_dropped(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        for id in ["asked", "held", "watched", "unused"] {
            callers::namespace(&client, id).await;
        }
        hub.kill().await;
        let feeds = hub_over(&hub).await;
        for id in ["asked", "held", "watched", "unused"] {
            feeds.feed(&namespace(id)).await.expect("a feed");
        }
        let start = StartWatch {
            namespace: namespace("watched"),
            policies: BTreeSet::new(),
            resume: None,
            latest: false,
            metadata_only: false,
        };
        let stream = feeds.subscribe(&start, watch::StreamContext { connection: 0, heartbeat_multiple: 1, keys: None }).await.expect("a stream");
        let held = feeds.feed(&namespace("held")).await.expect("a feed");
        feeds.drop_unused_feeds();
        assert_eq!(feeds.namespaces().len(), 4, "each was used before");
        feeds.feed(&namespace("asked")).await.expect("a feed");
        feeds.drop_unused_feeds();
        assert_eq!(feeds.namespaces(), ["asked", "held", "watched"].map(namespace));
        drop((stream, held));
        feeds.drop_unused_feeds();
        assert_eq!(feeds.namespaces(), [], "none was used since the call before");
        feeds.feed(&namespace("unused")).await.expect("it is read again");
    }
}

/// Given a transaction that begins before a poll and commits after it, the next poll names its log, and the one after that does not.
#[tokio::test]
async fn a_slow_commit_is_not_missed() {
    let mut hub = Hub::start_with(Database::Postgres, &[]).await;
    let client = hub.client().await;
    callers::namespace(&client, "slow").await;
    callers::namespace(&client, "quick").await;
    publish(&client, "p", "a: 1").await;
    hub.kill().await;
    let database = hub.database_url.rsplit('/').next().expect("a name");
    let store = stores::opened(&hub).await;
    let first = store.changed_logs(None).await.expect("an answer");
    assert!(first.namespaces.is_none(), "nothing is known of what was before");
    let quiet = until_nothing_is_new(&store, first.next).await;

    let columns = "policy, time, payload, prev_hash, hash, seal, seal_key_id, statement";
    let event = |namespace: &str| {
        format!(
            "INSERT INTO events (namespace, epoch, revision, {columns}) \
             SELECT '{namespace}', epoch, 1000, {columns} FROM events WHERE namespace = 'default' LIMIT 1"
        )
    };
    let connection = sea_orm::Database::connect(&hub.database_url).await.expect("a connection");
    let slow = connection.begin().await.expect("a transaction");
    slow.execute_unprepared(&event("slow")).await.expect("an event");
    Cluster::shared().psql(database, &event("quick"));
    let during = store.changed_logs(Some(quiet)).await.expect("an answer");
    let moved = during.namespaces.expect("few");
    assert!(moved.contains(&namespace("quick")), "{moved:?}");
    assert!(!moved.contains(&namespace("slow")), "it is not committed: {moved:?}");
    slow.commit().await.expect("a commit");
    let after = store.changed_logs(Some(during.next)).await.expect("an answer");
    assert!(after.namespaces.expect("few").contains(&namespace("slow")), "it began before the poll");
    until_nothing_is_new(&store, after.next).await;
}

/// Asks until an answer names no log. Transactions of other databases on the same cluster hold its snapshots back, and what is newer
/// than the oldest of them is named again.
async fn until_nothing_is_new(store: &Store, mut next: ChangesAfter) -> ChangesAfter {
    eventually("an answer without a log", async || {
        let answer = store.changed_logs(Some(next)).await.expect("an answer");
        next = answer.next;
        answer.namespaces == Some(BTreeSet::new())
    })
    .await;
    next
}
