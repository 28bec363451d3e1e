//! Fail static (docs/guarantees.md#g17): whatever happens to PostgreSQL, writes fail within 3 s, watches stay open, no replica exits, and
//! everything recovers by itself afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::Watch;
use policyhub::client::pb::policy_service_client::PolicyServiceClient;
use policyhub::client::{Client, ClientError};
use policyhub::domain::limits::LEASE_TTL_SECONDS;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::harness::Hub;
use crate::harness::calls::{Revision as _, activate, draft_request, publish};
use crate::harness::faults::signal;
use crate::harness::outages::{
    WRITE_FAILS_WITHIN, check_alive, check_recovered, prepare, readyz, until, until_database_up, until_ready,
};
use crate::harness::postgres::Cluster;
use crate::harness::proxy::NetworkProxy;
use crate::harness::subscribing::{counts, eventually, subscribe};
use crate::harness::watching::{self, LIVELY};

/// Number of writes during an outage.
const WRITES: usize = 8;
/// Number of connections with which a replica writes.
const CONNECTIONS: usize = 12;
/// What is left of a lease when an outage begins. With less, it may expire before the server has noticed the outage.
const LEASE_LEFT: Duration = Duration::from_secs(12);

/// A server on its own cluster, through a proxy, with a watch at the head.
struct OutageFixture {
    cluster: Cluster,
    data: PathBuf,
    proxy: NetworkProxy,
    hub: Hub,
    client: Client,
    watch: Watch,
}

impl OutageFixture {
    async fn start() -> Self {
        let cluster = Cluster::start(&[]);
        let data = cluster.data();
        let proxy = NetworkProxy::before(cluster.port).await;
        let url = cluster.create_database().replace(&format!(":{}/", cluster.port), &format!(":{}/", proxy.port));
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let hub = Hub::start_on(dir, url, LIVELY).await;
        let client = hub.client().await;
        let watch = prepare(&client).await;
        Self { cluster, data, proxy, hub, client, watch }
    }

    /// Returns the name of the database.
    fn name(&self) -> String {
        self.hub.database_url.rsplit('/').next().expect("a name").to_owned()
    }

    /// Starts a write and returns the error that it ends with.
    fn write(&self) -> tokio::task::JoinHandle<ClientError> {
        let client = self.client.clone();
        tokio::spawn(async move { client.draft(draft_request("q", "a: 2")).await.expect_err("it can't be done") })
    }

    /// Checks that a write during an outage is refused with UNAVAILABLE, in time.
    async fn refused_write(&self) {
        let began = Instant::now();
        let error = self.client.draft(draft_request("q", "a: 2")).await.expect_err("no database, no write");
        let took = began.elapsed();
        assert!(took < WRITE_FAILS_WITHIN, "{took:?}: {error:?}");
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        assert!(["DATABASE_UNAVAILABLE", "OUTCOME_UNKNOWN"].contains(&error.reason()), "{error:?}");
    }

    /// Checks what must hold while the database is unreachable.
    async fn hold_out(&mut self) {
        // Many at once: none of them may wait for another.
        let began = Instant::now();
        let writes = (0..WRITES * 4).map(|_| {
            let client = self.client.clone();
            tokio::spawn(async move { client.draft(draft_request("q", "a: 3")).await })
        });
        for write in writes.collect::<Vec<_>>() {
            let answer = write.await.expect("a write");
            assert!(answer.as_ref().is_err_and(|error| error.code() == Code::Unavailable), "{answer:?}");
        }
        assert!(began.elapsed() < WRITE_FAILS_WITHIN, "{:?}", began.elapsed());
        self.refused_write().await;
        until_database_up(&self.hub, false).await;
        // Once the outage is known, calls fail at once: all of these within the time limit of one.
        let began = Instant::now();
        for _ in 0..WRITES {
            self.refused_write().await;
        }
        assert!(began.elapsed() < WRITE_FAILS_WITHIN, "{:?}", began.elapsed());
        check_alive(&self.hub, &mut self.watch).await;
        assert_eq!(readyz(&self.hub), (200, "degraded: the database does not answer\n".to_owned()));
    }

    /// Checks what must recover by itself. Returns when the next activation has reached the watch.
    async fn recover(mut self) {
        check_recovered(&self.hub, &self.client, &mut self.watch).await;
        self.settled().await;
    }

    /// Checks that no dead connection is left in the pool: none of these writes and reads fails.
    async fn settled(&self) {
        let calls = (0..8).map(|index| {
            let client = self.client.clone();
            tokio::spawn(async move {
                client.draft(draft_request(&format!("after-{index}"), "a: 1")).await?;
                watching::log(&client).await;
                Ok::<_, ClientError>(())
            })
        });
        for call in calls.collect::<Vec<_>>() {
            let answer = call.await.expect("a call");
            assert!(answer.is_ok(), "everything works again: {answer:?}");
        }
    }
}

/// Returns a client of the service without the SDK's retries.
pub async fn raw(hub: &Hub) -> PolicyServiceClient<InterceptedService<Channel, impl Interceptor + use<>>> {
    let token: MetadataValue<Ascii> = format!("Bearer {}", hub.token()).parse().expect("a header");
    let channel = Channel::from_shared(hub.grpc.clone()).expect("an address").connect().await;
    PolicyServiceClient::with_interceptor(channel.expect("a connection"), move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", token.clone());
        Ok(request)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_and_starts() {
    let mut scene = OutageFixture::start().await;
    scene.cluster.stop(&scene.data);
    scene.hold_out().await;
    scene.cluster.start_again(&scene.data);
    scene.recover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still() {
    let mut scene = OutageFixture::start().await;
    scene.cluster.freeze(&scene.data);
    scene.hold_out().await;
    scene.cluster.go_on();
    scene.recover().await;
}

/// Given a network that drops everything, with connections in the middle of transactions, nothing waits for these when the network is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_loses_everything() {
    let mut scene = OutageFixture::start().await;
    let lock = scene.cluster.hold(&scene.name(), "default");
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS * 2 {
        let client = scene.client.clone();
        writes.spawn(async move { while client.draft(draft_request("q", "a: 2")).await.is_err() {} });
    }
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let all = CONNECTIONS.to_string();
    until("all wait", || scene.cluster.psql(&scene.name(), waiting) == all).await;
    scene.proxy.lose();
    writes.shutdown().await;
    scene.hold_out().await;
    scene.cluster.release(&scene.name(), lock);
    scene.proxy.aim(scene.cluster.port);
    scene.recover().await;
}

/// Given a write whose backend is killed while it waits for its namespace, PostgreSQL ends all other backends and restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_killed_in_a_transaction() {
    let scene = OutageFixture::start().await;
    let lock = scene.cluster.hold(&scene.name(), "default");
    let write = scene.write();
    signal("KILL", &[scene.cluster.waiting(&scene.name())]);
    let error = write.await.expect("a write");
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, "DATABASE_UNAVAILABLE"), "{error:?}");
    drop(lock);
    scene.recover().await;
}

/// Given a database that freezes in the middle of a transaction, the connection is not checked first, so the statement itself must have a
/// timeout.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_in_a_transaction() {
    let mut scene = OutageFixture::start().await;
    let lock = scene.cluster.hold(&scene.name(), "default");
    let write = scene.write();
    scene.cluster.waiting(&scene.name());
    scene.cluster.freeze(&scene.data);
    let frozen = Instant::now();
    let error = write.await.expect("a write");
    assert!(frozen.elapsed() < WRITE_FAILS_WITHIN, "{:?}: {error:?}", frozen.elapsed());
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, "DATABASE_UNAVAILABLE"), "{error:?}");
    scene.hold_out().await;
    scene.cluster.go_on();
    scene.cluster.release(&scene.name(), lock);
    scene.recover().await;
}

/// Given an outage, nobody can renew a lease, so none expires. The replica that holds the lease is frozen here, so that it can't renew it
/// before the other one is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_another_replica_outlasts_an_outage() {
    let cluster = Cluster::start(&[]);
    let data = cluster.data();
    let url = cluster.create_database();
    let name = url.rsplit('/').next().expect("a name").to_owned();
    let directory = || Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let mut holder = Hub::start_on(directory(), url.clone(), LIVELY).await;
    let keys = holder.data_dir().join("keys").display().to_string();
    let arguments: Vec<&str> = LIVELY.iter().copied().chain(["--keys-dir", &keys]).collect();
    let asked = Hub::start_on(directory(), url, &arguments).await;
    let client = asked.client().await;
    let version = publish(&client, "p", "a: 1").await.version;
    let revision = activate(&client, "p", version).await;
    let _stream = subscribe(&holder.client().await, "shop").await;
    eventually("it is online", async || counts(&client, revision).await == [0, 0, 1, 0]).await;

    holder.signal("STOP");
    let end = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    let left = LEASE_LEFT.as_micros();
    let lease = Duration::from_secs(LEASE_TTL_SECONDS.unsigned_abs()).as_micros();
    cluster.psql(&name, &format!("UPDATE replicas SET renew_time = {end} + {left} - {lease}"));
    cluster.stop(&data);
    until_database_up(&asked, false).await;
    // The outage itself: longer than what is left of the lease.
    tokio::time::sleep(LEASE_LEFT).await;
    cluster.start_again(&data);
    until_ready(&asked).await;
    assert_eq!(counts(&client, revision).await, [0, 0, 1, 0], "it could not be renewed");

    // The lease still expires: a replica that does not come back takes its subscribers offline.
    holder.kill().await;
    eventually("it is offline", async || counts(&client, revision).await == [0, 0, 0, 1]).await;
}

/// Given a COMMIT that is not confirmed, its caller is told in time that the outcome is unknown, and later gets the outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_its_time() {
    let scene = OutageFixture::start().await;
    let reload = |setting: &str| {
        scene.cluster.psql("postgres", setting);
        scene.cluster.psql("postgres", "SELECT pg_reload_conf()");
    };
    // The COMMIT waits for a standby that does not exist, after it was written here.
    reload("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    while scene.cluster.psql("postgres", "SHOW synchronous_standby_names") != "nobody" {}
    let head = watching::head(&scene.client).await;
    let request = policyhub::client::pb::DraftRequest {
        request_id: "of-one-effect".to_owned(),
        ..draft_request("q", "a: committed")
    };
    // Without the SDK's own retries.
    let mut raw = raw(&scene.hub).await;
    let began = Instant::now();
    let status = raw.draft(request.clone()).await.expect_err("nobody knows");
    assert!(began.elapsed() < WRITE_FAILS_WITHIN, "{:?}", began.elapsed());
    let error = ClientError::from(status);
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, "OUTCOME_UNKNOWN"), "{error:?}");
    // This does not count as an outage.
    assert_eq!(watching::head(&scene.client).await, head);
    reload("ALTER SYSTEM RESET synchronous_standby_names");
    let answer = scene.client.draft(request).await.expect("what became of it");
    assert_eq!(answer.cursor.revision(), head + 1);
    assert_eq!(watching::head(&scene.client).await, head + 1);
    scene.recover().await;
}
