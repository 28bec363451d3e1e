//! Work that many subscribers share is done once: messages are encoded, pages read and heads queried once.

use std::collections::BTreeSet;

use policyhub::client::Watch;
use policyhub::client::{ActiveSetOptions, Client, Cursor, WatchOptions, pb, watch};

use crate::harness::calls::{NAMESPACE, activate, draft, policy, publish};
use crate::harness::postgres::Cluster;
use crate::harness::watching::{self, LIVELY, everything, get_set, read_to};
use crate::harness::{Database, Hub, http, on_both_databases};

/// Number of streams with one filter: more than anybody would write by hand, fewer than the limit of a connection.
const STREAMS: usize = 30;
const ACTIVATIONS: i64 = 20;
/// Connections with that many streams each.
const CONNECTIONS: usize = 4;
/// Messages for streams of one connection that one write has at least, on average: acknowledgements of windows and pings count too.
const MESSAGES_PER_WRITE_MIN: u64 = 4;
/// Calls that are in flight at once on one connection.
const CALLS_IN_FLIGHT: u64 = 20;
/// How often so many are made.
const ROUNDS: u64 = 20;
/// Answers that one write has at least, on average: calls that wait for the memory budget answer later.
const ANSWERS_PER_WRITE_MIN: u64 = 2;

fn counted(hub: &Hub, name: &str) -> u64 {
    http::metric(&hub.http, name).unwrap_or_else(|| panic!("no metric {name}")) as u64
}

fn written(hub: &Hub, kind: &str) -> u64 {
    counted(hub, &format!("policyhub_watch_messages_written_total{{kind=\"{kind}\"}}"))
}

/// Opens `count` streams with these options on one connection and reads each snapshot.
async fn streams(client: &Client, set: &ActiveSetOptions, count: usize) -> Vec<Watch> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let options = WatchOptions { set: set.clone(), ..everything(client).await };
        let mut stream = watch(client, options).await.expect("a watch");
        watching::change(&mut stream).await;
        streams.push(stream);
    }
    streams
}

fn only(ids: &[&str]) -> ActiveSetOptions {
    let policies: BTreeSet<_> =
        ids.iter().map(|id| policyhub::client::name::PolicyId::parse("policy", id).expect("an id")).collect();
    ActiveSetOptions { policies, ..Default::default() }
}

async fn two_policies(client: &Client) {
    for id in ["a", "b"] {
        publish(client, id, "x: 1").await;
        publish(client, id, "x: 2").await;
    }
    activate(client, "a", 1).await;
    activate(client, "b", 1).await;
}

on_both_databases! {
    /// Given 30 streams of everything, 30 without content and 30 of one policy, each activation is encoded once per kind of stream.
    async fn an_activation_is_written_once_for_all_who_want_the_same(hub: Hub) {
        let client = hub.client().await;
        two_policies(&client).await;
        let metadata = ActiveSetOptions { metadata_only: true, ..Default::default() };
        let mut all = Vec::new();
        for set in [ActiveSetOptions::default(), metadata, only(&["a"]), only(&["b"])] {
            all.extend(streams(&hub.client().await, &set, STREAMS).await);
        }
        assert_eq!(written(&hub, "activation"), 0);
        let before = written(&hub, "snapshot");
        // Four filters; each snapshot is encoded again only when its checkpoint was renewed.
        assert!((4..STREAMS as u64).contains(&before), "{before} snapshots written for {} streams", all.len());

        let mut head = 0;
        for round in 0..ACTIVATIONS {
            head = activate(&client, "a", 1 + (round + 1) % 2).await;
        }
        for stream in &mut all {
            if stream.set().policies().any(|active| active.policy.to_string() == "a") {
                assert_eq!(read_to(stream, head).await.len(), ACTIVATIONS as usize);
            }
        }
        // For all of "a", for its metadata only, and for the filter on "a", which has a proof in its last part. The filter on "b" gets
        // nothing.
        assert_eq!(written(&hub, "activation"), 3 * ACTIVATIONS as u64);
        let taken = counted(&hub, "policyhub_watch_messages_taken_total");
        assert!(taken >= (3 * STREAMS as i64 * ACTIVATIONS) as u64, "{taken}");
    }
}

on_both_databases! {
    /// Given streams that resume behind the ring at different cursors, a page of the log is read once for all of them.
    async fn a_reconnect_storm_reads_each_page_once(database: Database) {
        let hub = Hub::start_with(database, &[LIVELY, &["--watch-ring-events", "16"]].concat()).await;
        let client = hub.client().await;
        two_policies(&client).await;
        let start = watching::head(&client).await;
        let mut head = start;
        for round in 0..150 {
            head = activate(&client, "a", 1 + (round + 1) % 2).await;
        }
        let keys = everything(&client).await;
        let mut streams = Vec::new();
        for number in 0..STREAMS as i64 {
            let from = start + number % 5;
            let options = WatchOptions { resume: Some(Cursor { epoch: 1, revision: from }), ..keys.clone() };
            streams.push((from, watch(&hub.client().await, options).await.expect("a watch")));
        }
        // All of them at once: a slow stream finds the pages that others have read.
        let reading = streams.into_iter().map(|(from, mut stream)| {
            tokio::spawn(async move { (from, read_to(&mut stream, head).await) })
        });
        for read in reading.collect::<Vec<_>>() {
            let (from, seen) = read.await.expect("a stream that got through");
            assert_eq!(seen, (from + 1..=head).collect::<Vec<_>>(), "nothing is skipped and nothing comes twice");
        }
        let pages = counted(&hub, "policyhub_watch_pages_read_total");
        // One page for each of the five cursors, and the rest of the log: the reads are aligned at the next multiple of a page.
        assert!((3..=10).contains(&pages), "{pages} pages read for {STREAMS} streams");
    }
}

on_both_databases! {
    /// Given connections with many streams each, a connection sends a change to all of them in few writes.
    async fn the_streams_of_a_connection_share_its_writes(hub: Hub) {
        let client = hub.client().await;
        two_policies(&client).await;
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            all.extend(streams(&hub.client().await, &ActiveSetOptions::default(), STREAMS).await);
        }
        let count = || ["policyhub_connection_writes_total", "policyhub_watch_messages_taken_total"].map(|name| counted(&hub, name));
        let [writes_before, taken_before] = count();
        for round in 0..ACTIVATIONS {
            let head = activate(&client, "a", 1 + (round + 1) % 2).await;
            for stream in &mut all {
                read_to(stream, head).await;
            }
        }
        let [writes, taken] = count();
        let (writes, taken) = (writes - writes_before, taken - taken_before);
        assert!(taken >= ACTIVATIONS as u64 * all.len() as u64, "{taken} messages");
        assert!(writes * MESSAGES_PER_WRITE_MIN <= taken, "{writes} writes for {taken} messages");
    }
}

on_both_databases! {
    /// Given a connection with many calls in flight, their answers are sent in few writes.
    async fn the_calls_of_a_connection_share_its_writes(hub: Hub) {
        let client = hub.client().await;
        two_policies(&client).await;
        get_set(&client).await;
        let writes_before = counted(&hub, "policyhub_connection_writes_total");
        for _ in 0..ROUNDS {
            let calls = (0..CALLS_IN_FLIGHT).map(|_| {
                let client = client.clone();
                async move { client.get_active(pb::GetActiveRequest { name: policy("a"), ..Default::default() }).await }
            });
            for answer in futures_util::future::join_all(calls).await {
                answer.expect("an answer");
            }
        }
        let writes = counted(&hub, "policyhub_connection_writes_total") - writes_before;
        let answers = ROUNDS * CALLS_IN_FLIGHT;
        assert!(writes * ANSWERS_PER_WRITE_MIN <= answers, "{writes} writes for {answers} answers");
    }
}

/// Given a write that returned, a read that begins afterwards sees it, also at another replica, which polls only once a second.
#[tokio::test]
async fn reads_from_memory_are_as_new_as_the_last_write() {
    let keys = tempfile::tempdir().expect("a temporary directory");
    let keys_dir = keys.path().join("keys").display().to_string();
    let one = Hub::start_with(Database::Postgres, &["--keys-dir", &keys_dir]).await;
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let other = Hub::start_on(dir, one.database_url.clone(), &["--keys-dir", &keys_dir]).await;
    let (here, there) = (one.client().await, other.client().await);
    two_policies(&here).await;
    get_set(&there).await;
    for round in 0..20 {
        let revision = activate(&here, "a", 1 + (round + 1) % 2).await;
        // Eight at once: they share the database query.
        let reads = (0..8).map(|_| {
            let there = there.clone();
            tokio::spawn(async move { get_set(&there).await })
        });
        for read in reads.collect::<Vec<_>>() {
            let set = read.await.expect("an answer");
            assert!(set.cursor.expect("a cursor").revision >= revision && !set.degraded, "{set:?}");
        }
        // A draft moves the head too.
        draft(&here, "b", &format!("x: 3{round}")).await;
        let named = pb::GetActiveRequest { name: policy("a"), ..Default::default() };
        let answer = there.get_active(named).await.expect("an answer");
        assert!(answer.cursor.expect("a cursor").revision > revision, "{NAMESPACE}: {answer:?}");
    }
    let rounds = counted(&other, "policyhub_head_rounds_total");
    assert!((1..=20 * 9).contains(&rounds), "{rounds} head reads for {} reads", 20 * 9);
}

/// Given many namespaces and streams, a poll of the logs is one transaction.
#[tokio::test]
async fn a_namespace_more_is_no_query_more() {
    let hub = Hub::start_with(Database::Postgres, LIVELY).await;
    let client = hub.client().await;
    let mut streams = Vec::new();
    for number in 0..20 {
        let id = format!("tenant-{number}");
        let request = pb::CreateNamespaceRequest { namespace_id: id.clone(), ..Default::default() };
        client.create_namespace(request).await.expect("a namespace");
        for _ in 0..3 {
            let request = pb::WatchActiveRequest {
                targets: vec![pb::WatchTarget { parent: format!("namespaces/{id}"), ..Default::default() }],
                ..Default::default()
            };
            let mut stream = client.watch_active(request).await.expect("a watch");
            stream.message().await.expect("a stream").expect("a snapshot");
            streams.push(stream);
        }
    }
    let database = hub.database_url.rsplit('/').next().expect("a name").to_owned();
    let asked = || {
        let sql = format!("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{database}'");
        let (looks, transactions) =
            (counted(&hub, "policyhub_tailer_looks_total"), Cluster::shared().psql("postgres", &sql));
        (looks, transactions.parse::<u64>().expect("a count"))
    };
    // A database connection reports its statistics within 10 s of its last statement (PGSTAT_IDLE_INTERVAL), so earlier statements are
    // counted after these 50 ms polls.
    let looked = |looks: u64| loop {
        let now = asked();
        if now.0 >= looks {
            break now;
        }
    };
    let before = looked(asked().0 + 250);
    let after = looked(before.0 + 100);
    let (looks, transactions) = (after.0 - before.0, after.1 - before.1);
    assert!(transactions < 2 * looks, "{transactions} transactions for {looks} looks at 20 namespaces");
    drop(streams);
}
