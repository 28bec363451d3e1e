//! Replicas wake each other by NOTIFY, and work without it (docs/guarantees.md#g12).

use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::Client;
use policyhub::client::Watch;

use crate::harness::calls::{activate, publish};
use crate::harness::http::metric;
use crate::harness::postgres::Cluster;
use crate::harness::proxy::NetworkProxy;
use crate::harness::watching::{self, DEADLINE};
use crate::harness::{Database, Hub};

/// Number of deliveries of which the median is taken.
const DELIVERIES: usize = 5;
const NOTIFIED: &str = r#"policyhub_tailer_wakes_total{cause="notify"}"#;
const CONNECTED: &str = r#"policyhub_tailer_wakes_total{cause="listen"}"#;

/// Two replicas: one gets the writes, the other has the watch.
struct ReplicaPair {
    writer: Hub,
    watched: Hub,
    client: Client,
    watch: Watch,
    /// The version to activate next: activations alternate between two versions.
    next: i64,
}

impl ReplicaPair {
    async fn start(arguments: &[&str]) -> Self {
        let writer = Hub::start_with(Database::Postgres, arguments).await;
        let keys = writer.data_dir().join("keys").display().to_string();
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--keys-dir", &keys]).collect();
        let watched = Hub::start_on(dir, writer.database_url.clone(), &arguments).await;
        let client = writer.client().await;
        publish(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let mut watch = watching::open(&watched.client().await).await;
        watching::change(&mut watch).await;
        let mut pair = Self { writer, watched, client, watch, next: 1 };
        pair.deliver().await;
        pair
    }

    /// Activates at one replica and returns how long it took until the watch at the other received it.
    async fn deliver(&mut self) -> Duration {
        let revision = activate(&self.client, "p", self.next).await;
        let answered = Instant::now();
        assert_eq!(watching::activation(&mut self.watch).await.0, revision);
        self.next = 3 - self.next;
        answered.elapsed()
    }

    async fn median(&mut self) -> Duration {
        let mut times = Vec::new();
        for _ in 0..DELIVERIES {
            times.push(self.deliver().await);
        }
        times.sort();
        times[DELIVERIES / 2]
    }

    /// Delivers until another notification has woken the watched replica.
    async fn deliver_until_notified(&mut self) {
        let before = count(&self.watched, NOTIFIED);
        let wait = async {
            while count(&self.watched, NOTIFIED) <= before {
                self.deliver().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("a notification before the deadline");
    }
}

fn count(hub: &Hub, name: &str) -> f64 {
    metric(&hub.http, name).unwrap_or(0.0)
}

/// Waits until the replica's listener has reconnected.
async fn reconnected(hub: &Hub, before: f64) {
    let wait = async {
        while count(hub, CONNECTED) <= before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("a new connection before the deadline");
}

/// Given no NOTIFY, the poll delivers once a second; NOTIFY only makes it faster.
#[tokio::test]
async fn notify_only_makes_it_faster() {
    let mut received = ReplicaPair::start(&[]).await;
    let mut polling = ReplicaPair::start(&["--listen-notify=false"]).await;
    received.deliver_until_notified().await;
    let (with, without) = (received.median().await, polling.median().await);
    assert!(with * 3 < without, "with NOTIFY {with:?}, by the poll {without:?}");
    assert_eq!((count(&polling.watched, NOTIFIED), count(&polling.watched, CONNECTED)), (0.0, 0.0));
    // A replica is not woken by its own commits.
    assert_eq!(count(&received.writer, NOTIFIED), 0.0);
    assert!(count(&received.writer, CONNECTED) >= 1.0);
}

#[tokio::test]
async fn a_killed_listener_comes_back() {
    let mut pair = ReplicaPair::start(&[]).await;
    pair.deliver_until_notified().await;
    let (ours, theirs) = (count(&pair.writer, CONNECTED), count(&pair.watched, CONNECTED));
    let database = pair.writer.database_url.rsplit('/').next().expect("a name").to_owned();
    let killed = Cluster::shared().psql(
        "postgres",
        &format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = '{database}' AND query LIKE 'LISTEN%'"
        ),
    );
    assert_eq!(killed, "2", "both replicas listen");
    pair.deliver().await;
    reconnected(&pair.writer, ours).await;
    reconnected(&pair.watched, theirs).await;
    pair.deliver_until_notified().await;
}

/// Given a link that is lost without an error, the ping detects it.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_link_is_found_dead() {
    let cluster = Cluster::shared();
    let proxy = NetworkProxy::before(cluster.port).await;
    let url = cluster.create_database();
    let through = url.replace(&format!(":{}/", cluster.port), &format!(":{}/", proxy.port));
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let writer = Hub::start_on(dir, url.clone(), &[]).await;
    let keys = writer.data_dir().join("keys").display().to_string();
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let watched = Hub::start_on(dir, url, &["--listen-url", &through, "--keys-dir", &keys]).await;
    let client = writer.client().await;
    publish(&client, "p", "a: 1").await;
    publish(&client, "p", "a: 2").await;
    let mut watch = watching::open(&watched.client().await).await;
    watching::change(&mut watch).await;
    let mut pair = ReplicaPair { writer, watched, client, watch, next: 1 };
    pair.deliver_until_notified().await;

    let before = count(&pair.watched, CONNECTED);
    proxy.lose();
    // There is no notification, and the change still arrives.
    pair.deliver().await;
    proxy.aim(cluster.port);
    reconnected(&pair.watched, before).await;
    pair.deliver_until_notified().await;
}
