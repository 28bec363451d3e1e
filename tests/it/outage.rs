//! Fail static (G17): whatever happens to PostgreSQL, writes fail within 3 s, watches live, no replica exits, and all goes
//! on by itself afterwards.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::pb::policy_service_client::PolicyServiceClient;
use policyhub::client::watch::Watch;
use policyhub::client::{Change, Client, ClientError};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::harness::Hub;
use crate::harness::calls::{activate, draft, draft_request, publish, try_activate};
use crate::harness::faults::signal;
use crate::harness::http::{get, metric};
use crate::harness::postgres::Cluster;
use crate::harness::proxy::Proxy;
use crate::harness::watching::{self, DEADLINE, LIVELY};

/// The promise: a write fails within this time during an outage.
const WRITE_FAILS_WITHIN: Duration = Duration::from_secs(3);
/// Writes that are tried during an outage.
const WRITES: usize = 8;
/// Connections of a replica that write.
const CONNECTIONS: usize = 12;
const UP: &str = "policyhub_database_up";

/// A server on a cluster of its own, through a proxy, with a watch at the head.
struct Scene {
    cluster: Cluster,
    data: PathBuf,
    proxy: Proxy,
    hub: Hub,
    client: Client,
    watch: Watch,
}

impl Scene {
    async fn start() -> Self {
        let cluster = Cluster::start(&[]);
        let data = cluster.data();
        let proxy = Proxy::before(cluster.port).await;
        let url = cluster.create_database().replace(&format!(":{}/", cluster.port), &format!(":{}/", proxy.port));
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let hub = Hub::start_on(dir, url, LIVELY).await;
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        activate(&client, "p", 1).await;
        draft(&client, "q", "a: 1").await;
        let mut watch = watching::open(&client).await;
        watching::change(&mut watch).await;
        Self { cluster, data, proxy, hub, client, watch }
    }

    /// The name of the database.
    fn name(&self) -> String {
        self.hub.database_url.rsplit('/').next().expect("a name").to_owned()
    }

    /// A write that is running; the error it ends with.
    fn write(&self) -> tokio::task::JoinHandle<ClientError> {
        let client = self.client.clone();
        tokio::spawn(async move { client.draft(draft_request("q", "a: 2")).await.expect_err("it can't be done") })
    }

    /// A write during an outage: UNAVAILABLE, in time.
    async fn refused_write(&self) {
        let began = Instant::now();
        let error = self.client.draft(draft_request("q", "a: 2")).await.expect_err("no database, no write");
        let took = began.elapsed();
        assert!(took < WRITE_FAILS_WITHIN, "{took:?}: {error:?}");
        assert_eq!(error.code, Code::Unavailable, "{error:?}");
        assert!(["DATABASE_UNAVAILABLE", "OUTCOME_UNKNOWN"].contains(&error.reason.as_str()), "{error:?}");
    }

    /// What must hold while the database is away.
    async fn hold_out(&mut self) {
        // At once, many: none of them may wait for another.
        let began = Instant::now();
        let writes = (0..WRITES * 4).map(|_| {
            let client = self.client.clone();
            tokio::spawn(async move { client.draft(draft_request("q", "a: 3")).await.map_err(|error| error.code) })
        });
        for write in writes.collect::<Vec<_>>() {
            assert_eq!(write.await.expect("a write").map(|_| ()), Err(Code::Unavailable));
        }
        assert!(began.elapsed() < WRITE_FAILS_WITHIN, "{:?}", began.elapsed());
        self.refused_write().await;
        until(|| metric(&self.hub.http, UP) == Some(0.0)).await;
        // Once it is seen, calls fail at once: all of these in the time that one may take.
        let began = Instant::now();
        for _ in 0..WRITES {
            self.refused_write().await;
        }
        assert!(began.elapsed() < WRITE_FAILS_WITHIN, "{:?}", began.elapsed());
        for _ in 0..3 {
            assert!(matches!(watching::next(&mut self.watch).await.1, Change::Alive { .. }));
        }
        assert_eq!(get(&self.hub.http, "/livez").expect("it lives").0, 200);
        let (status, _, body) = get(&self.hub.http, "/readyz").expect("an answer");
        assert_eq!((status, body.as_str()), (200, "degraded: the database does not answer\n"));
    }

    /// What must come back by itself. Answers when the next activation has reached the watch.
    async fn recover(mut self) {
        let activated = async {
            loop {
                match try_activate(&self.client, "p", 2, None).await {
                    Ok(_) => return,
                    Err(error) => assert_eq!(error.code, Code::Unavailable, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, activated).await.expect("writes before the deadline");
        assert_eq!(watching::activation(&mut self.watch).await.1, ["p@2"]);
        until(|| metric(&self.hub.http, UP) == Some(1.0)).await;
        until(|| get(&self.hub.http, "/readyz").is_ok_and(|(_, _, body)| body == "ok\n")).await;
        self.settled().await;
    }

    /// No connection is left that would not answer: none of these writes and reads fails.
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
            call.await.expect("a call").expect("everything works again");
        }
    }
}

/// The bare service.
async fn raw(hub: &Hub) -> PolicyServiceClient<InterceptedService<Channel, impl Interceptor + use<>>> {
    let token: MetadataValue<Ascii> = format!("Bearer {}", hub.token()).parse().expect("a header");
    let channel = Channel::from_shared(hub.grpc.clone()).expect("an address").connect().await;
    PolicyServiceClient::with_interceptor(channel.expect("a connection"), move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", token.clone());
        Ok(request)
    })
}

async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("it comes before the deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_and_starts() {
    let mut scene = Scene::start().await;
    scene.cluster.stop(&scene.data);
    scene.hold_out().await;
    scene.cluster.start_again(&scene.data);
    scene.recover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still() {
    let mut scene = Scene::start().await;
    scene.cluster.freeze(&scene.data);
    scene.hold_out().await;
    scene.cluster.go_on();
    scene.recover().await;
}

/// Connections that nobody ends, each in the middle of a transaction: nothing may wait for them when the network is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_loses_everything() {
    let mut scene = Scene::start().await;
    let lock = scene.cluster.hold(&scene.name(), "default");
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS * 2 {
        let client = scene.client.clone();
        writes.spawn(async move { while client.draft(draft_request("q", "a: 2")).await.is_err() {} });
    }
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let all = CONNECTIONS.to_string();
    until(|| scene.cluster.psql(&scene.name(), waiting) == all).await;
    scene.proxy.lose();
    writes.shutdown().await;
    scene.hold_out().await;
    scene.cluster.release(&scene.name(), lock);
    scene.proxy.aim(scene.cluster.port);
    scene.recover().await;
}

/// The backend of a write is killed while it waits for its namespace: PostgreSQL ends all others with it, and restarts.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_killed_in_a_transaction() {
    let scene = Scene::start().await;
    let lock = scene.cluster.hold(&scene.name(), "default");
    let write = scene.write();
    signal("KILL", &[scene.cluster.waiting(&scene.name())]);
    let error = write.await.expect("a write");
    assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable, "DATABASE_UNAVAILABLE"), "{error:?}");
    drop(lock);
    scene.recover().await;
}

/// In the middle of a transaction nobody asks first whether the connection lives: the statement itself is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_in_a_transaction() {
    let mut scene = Scene::start().await;
    let lock = scene.cluster.hold(&scene.name(), "default");
    let write = scene.write();
    scene.cluster.waiting(&scene.name());
    scene.cluster.freeze(&scene.data);
    let frozen = Instant::now();
    let error = write.await.expect("a write");
    assert!(frozen.elapsed() < WRITE_FAILS_WITHIN, "{:?}: {error:?}", frozen.elapsed());
    assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable, "DATABASE_UNAVAILABLE"), "{error:?}");
    scene.hold_out().await;
    scene.cluster.go_on();
    scene.cluster.release(&scene.name(), lock);
    scene.recover().await;
}

/// A COMMIT that is not confirmed goes on: its caller hears in time that nobody knows, and later what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_takes_its_time() {
    let scene = Scene::start().await;
    let reload = |setting: &str| {
        scene.cluster.psql("postgres", setting);
        scene.cluster.psql("postgres", "SELECT pg_reload_conf()");
    };
    // It waits for a standby that is not there, after it is written here.
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
    assert_eq!((error.code, error.reason.as_str()), (Code::Unavailable, "OUTCOME_UNKNOWN"), "{error:?}");
    // It is no outage.
    assert_eq!(watching::head(&scene.client).await, head);
    reload("ALTER SYSTEM RESET synchronous_standby_names");
    let answer = scene.client.draft(request).await.expect("what became of it");
    assert_eq!(answer.revision, head + 1);
    assert_eq!(watching::head(&scene.client).await, head + 1);
    scene.recover().await;
}
