//! A PostgreSQL that is suddenly replaced by an older copy, under running servers: whatever was lost, they all report suspected data loss.

use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::name::NamespaceId;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, ClientError, WatchOptions, pb, watch};
use policyhub::client::{Watch, WatchError};
use tempfile::TempDir;
use tonic::Code;

use crate::another_event::stays_in_doubt;
use crate::epochs::{bumped, nothing_is_written_until_in_doubt, writes_go_on};
use crate::harness::Hub;
use crate::harness::callers::try_grant;
use crate::harness::calls::{Revision as _, draft_request, refused, release, try_activate};
use crate::harness::http::get;
use crate::harness::outages::until;
use crate::harness::postgres::Cluster;
use crate::harness::postgres_scene::{PostgresScene, ROLE};
use crate::harness::proxy::NetworkProxy;
use crate::harness::subscribing::eventually;
use crate::harness::watching::{self, DEADLINE, LIVELY, get_set};

/// A namespace that is created after the copy.
const TENANT: &str = "tenant";

/// Blocks new connections to the database, ends the open ones, then runs SQL about it.
fn alone(cluster: &Cluster, name: &str, sql: &str) {
    cluster.psql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    while cluster.psql("postgres", &end) != "0" {}
    for statement in sql.split(';') {
        cluster.psql("postgres", statement);
    }
}

fn copy(cluster: &Cluster, name: &str, owner: &str) {
    let make =
        format!("CREATE DATABASE older TEMPLATE {name} OWNER {owner}; ALTER DATABASE {name} ALLOW_CONNECTIONS true");
    alone(cluster, name, &make);
}

/// Replaces a database by another one; the original is then named `lost`.
fn replace(cluster: &Cluster, name: &str, by: &str) {
    alone(cluster, name, &format!("ALTER DATABASE {name} RENAME TO lost; ALTER DATABASE {by} RENAME TO {name}"));
}

/// Starts a second server with the same keys.
async fn beside(hub: &Hub, database_url: String) -> Hub {
    let keys = hub.data_dir().join("keys").display().to_string();
    let arguments: Vec<&str> = LIVELY.iter().copied().chain(["--keys-dir", &keys]).collect();
    Hub::start_on(directory(), database_url, &arguments).await
}

fn directory() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().expect("a temporary directory"))
}

/// Longer than the cached signing keys are valid: after it, writes read the log of `system` first.
const KEYS_ARE_OLD: Duration = Duration::from_secs(7);

/// Checks that writes of each kind are refused only with suspected data loss.
async fn every_write_is_in_doubt(client: &Client) {
    let began = Instant::now();
    while began.elapsed() < KEYS_ARE_OLD {
        let draft = client.draft(draft_request("w", "a: 9")).await;
        refused(draft, Code::FailedPrecondition, "STORE_IN_DOUBT");
        refused(try_activate(client, "p", 1, None).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
        let granted = try_grant(client, "local:bob", pb::Role::Viewer, "namespaces/default").await;
        refused(granted, Code::FailedPrecondition, "STORE_IN_DOUBT");
        let create = pb::CreateNamespaceRequest { namespace_id: "another".to_owned(), ..Default::default() };
        refused(client.create_namespace(create).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
        let of_tenant =
            pb::DraftRequest { parent: format!("namespaces/{TENANT}/policies/p"), ..draft_request("p", "a: 9") };
        refused(client.draft(of_tenant).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
    }
}

async fn until_in_doubt(client: &Client) {
    let doubt = async {
        loop {
            match client.draft(draft_request("p", "a: 9")).await {
                // This log lost nothing: it accepts writes until this replica has checked the one that did.
                Ok(_) => {}
                Err(error) if error.reason() == "STORE_IN_DOUBT" => return,
                Err(error) => assert_eq!(error.code(), Code::Unavailable, "{error:?}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, doubt).await.expect("doubt before the deadline");
}

async fn tenant(client: &Client) -> Result<pb::ListActiveResponse, ClientError> {
    let request = pb::ListActiveRequest { parent: format!("namespaces/{TENANT}"), ..Default::default() };
    client.list_active(request).await
}

async fn watch_tenant(client: &Client) -> Watch {
    let namespace = NamespaceId::parse("namespace", TENANT).expect("an id");
    watch(client, WatchOptions { namespace, ..watching::everything(client).await }).await.expect("a watch")
}

/// Reads heartbeats until one reports suspected data loss.
async fn goes_on_in_doubt(watch: &mut Watch) {
    loop {
        let (message, _) = watching::next(watch).await;
        if matches!(message.message, Some(Message::Heartbeat(heartbeat)) if heartbeat.in_doubt) {
            return;
        }
    }
}

fn lines(hub: &Hub, text: &str) -> usize {
    hub.log.lock().expect("the log").lines().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_lost_every_write_says_that_the_store_is_in_doubt() {
    let scene = PostgresScene::start(&[]).await;
    let other = beside(&scene.hub, scene.hub.database_url.clone()).await;
    let elsewhere = other.client_with(Some(scene.hub.token())).await;
    copy(&scene.cluster, &scene.name, ROLE);
    scene.until_written().await;
    eventually("both are back", async || tenant(&elsewhere).await.is_err_and(|error| error.code() == Code::NotFound))
        .await;

    // Lost: a namespace, and a role binding, which is in the log that has the keys.
    let create = pb::CreateNamespaceRequest { namespace_id: TENANT.to_owned(), ..Default::default() };
    scene.client.create_namespace(create).await.expect("a namespace");
    let granted = try_grant(&scene.client, "local:ann", pb::Role::Viewer, "namespaces/-")
        .await
        .expect("a grant")
        .cursor
        .revision();
    let mut watch = watch_tenant(&scene.client).await;
    watching::change(&mut watch).await;
    tenant(&scene.client).await.expect("an empty set");
    // The other replica knows the log of `system`, and not the namespace.
    let listed = async || {
        let request = pb::ListRoleBindingsRequest { parent: "namespaces/-".to_owned(), ..Default::default() };
        elsewhere.list_role_bindings(request).await.is_ok_and(|page| page.role_bindings.len() == 2)
    };
    eventually("the role", listed).await;
    until("what was seen is kept", || other.seen_revision("system") == Some(granted)).await;
    replace(&scene.cluster, &scene.name, "older");

    until_in_doubt(&scene.client).await;
    every_write_is_in_doubt(&scene.client).await;
    until_in_doubt(&elsewhere).await;
    every_write_is_in_doubt(&elsewhere).await;
    for client in [&scene.client, &elsewhere] {
        assert!(get_set(client).await.in_doubt, "reads go on, marked");
    }
    goes_on_in_doubt(&mut watch).await;
    assert!(tenant(&scene.client).await.expect("what was verified goes on").in_doubt);
    refused(tenant(&elsewhere).await, Code::FailedPrecondition, "STORE_IN_DOUBT");

    bumped(&scene.hub, &["--accept-loss", "--force"], 2, 2).await;
    let ended = async {
        loop {
            match watch.next().await {
                Ok(Some(_)) => {}
                Err(WatchError::Call(error)) => return error,
                other => panic!("not an end with a reason: {other:?}"),
            }
        }
    };
    let ended = tokio::time::timeout(DEADLINE, ended).await.expect("an end before the deadline");
    assert_eq!((ended.code(), ended.reason()), (Code::NotFound, "NAMESPACE_NOT_FOUND"), "{ended:?}");
    for client in [&scene.client, &elsewhere] {
        writes_go_on(client, "q").await;
        refused(tenant(client).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
    }
    assert_eq!(lines(&scene.hub, "a namespace is gone"), 1);
    for hub in [&scene.hub, &other] {
        assert_eq!(lines(hub, "the store is in doubt and read-only"), 1, "said once");
        assert_eq!(lines(hub, "failed to follow"), 0, "neither an outage nor a doubt is a log that does not verify");
    }
}

/// Given a server with subscribers whose network is down while an older copy replaces its database, and while another server, which knows
/// only the copy, writes beyond what this one saw.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_compared_when_the_network_comes_back() {
    let cluster = Cluster::start(&[]);
    let database = cluster.create_database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let proxy = NetworkProxy::before(cluster.port).await;
    let url = database.replace(&format!(":{}/", cluster.port), &format!(":{}/", proxy.port));
    let hub = Hub::start_on(directory(), url, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let mut other = beside(&hub, database).await;
    other.signal("TERM");
    assert!(other.ended().await.success());
    copy(&cluster, &name, "postgres");
    writes_go_on(&client, "p").await;
    let mut watch = watching::open(&client).await;
    let seen = try_activate(&client, "p", 1, None).await.expect("an activation").cursor.revision();
    watching::read_to(&mut watch, seen).await;

    proxy.lose();
    replace(&cluster, &name, "older");
    let other = other.restart().await;
    let elsewhere = other.client_with(Some(hub.token())).await;
    let mut written = 0;
    while written <= seen {
        written =
            elsewhere.draft(draft_request("q", &format!("a: {written}"))).await.expect("a draft").cursor.revision();
    }
    proxy.aim(cluster.port);

    nothing_is_written_until_in_doubt(&client).await;
    goes_on_in_doubt(&mut watch).await;
    elsewhere.draft(draft_request("q", "a: later")).await.expect("the log goes on");
    stays_in_doubt(&client).await;
    assert!(get(&hub.http, "/readyz").expect("an answer").2.starts_with("read-only: "));
    assert_eq!(lines(&hub, "failed to follow"), 0, "a doubt is no log that does not verify");

    bumped(&hub, &["--accept-loss"], 2, 2).await;
    for client in [&client, &elsewhere] {
        writes_go_on(client, "q").await;
    }
    watching::change(&mut watch).await;
    assert!(!get_set(&client).await.in_doubt);
}

/// Given another store, with longer logs and the same keys, that replaces the database under a running server.
#[tokio::test(flavor = "multi_thread")]
async fn another_store_is_neither_read_nor_written() {
    let scene = PostgresScene::start(&[]).await;
    let cluster = &scene.cluster;
    cluster.psql("postgres", &format!("CREATE DATABASE foreign_store OWNER {ROLE}"));
    let url = scene.hub.database_url.replace(&scene.name, "foreign_store");
    let mut other = beside(&scene.hub, url).await;
    let elsewhere = other.client().await;
    for number in 0..20 {
        elsewhere.draft(draft_request("q", &format!("a: {number}"))).await.expect("a draft");
    }
    let create = pb::CreateNamespaceRequest { namespace_id: TENANT.to_owned(), ..Default::default() };
    elsewhere.create_namespace(create).await.expect("a namespace");
    other.signal("TERM");
    assert!(other.ended().await.success());
    let events = "SELECT count(*) FROM events";
    let theirs = cluster.psql("foreign_store", events);
    let before = get_set(&scene.client).await;

    replace(cluster, &scene.name, "foreign_store");
    // Nobody may connect until then.
    cluster.psql("postgres", &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", scene.name));
    // The first ones may still get the refusal of connections.
    while !scene.until_refused("DATABASE_ACCESS_DENIED").await.message().contains("another store") {}
    scene.until_readyz("another store").await;
    let now = get_set(&scene.client).await;
    assert!(now.degraded && now.bundles == before.bundles, "what was verified goes on, marked: {now:?}");
    assert_eq!(tenant(&scene.client).await.expect_err("it is not ours").code(), Code::Unavailable);
    assert_eq!(scene.sql(events), theirs);

    let back = format!("ALTER DATABASE {0} RENAME TO foreign_store; ALTER DATABASE lost RENAME TO {0}", scene.name);
    alone(cluster, &scene.name, &back);
    cluster.psql("postgres", &format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", scene.name));
    scene.until_written().await;
    until("what was seen is of this store alone", || {
        let kept = std::fs::read_to_string(scene.hub.data_dir().join("high-water.json")).unwrap_or_default();
        !kept.contains(TENANT)
    })
    .await;
    assert_eq!(lines(&scene.hub, "in doubt"), 0, "it lost nothing");
}
