//! A PostgreSQL that is an older copy from one moment to the next, under servers that run: whatever was lost, they say one thing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::client::name::NamespaceId;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::watch::{Watch, WatchError};
use policyhub::client::{Client, ClientError, WatchOptions, pb, watch};
use tonic::Code;

use crate::epochs::{bumped, writes_go_on};
use crate::harness::Hub;
use crate::harness::callers::try_grant;
use crate::harness::calls::{draft_request, refused, try_activate};
use crate::harness::outages::until;
use crate::harness::postgres_scene::{PostgresScene, ROLE};
use crate::harness::subscribing::eventually;
use crate::harness::watching::{self, DEADLINE, LIVELY, get_set};

/// A namespace that is made after the copy.
const TENANT: &str = "tenant";

/// Lets nobody into the database and ends all who are in it, then runs SQL about it.
fn alone(scene: &PostgresScene, sql: &str) {
    let PostgresScene { cluster, name, .. } = scene;
    cluster.psql("postgres", &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    let end = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    while cluster.psql("postgres", &end) != "0" {}
    for statement in sql.split(';') {
        cluster.psql("postgres", statement);
    }
}

fn copy(scene: &PostgresScene) {
    let name = &scene.name;
    alone(
        scene,
        &format!("CREATE DATABASE older TEMPLATE {name} OWNER {ROLE}; ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
    );
}

fn put_back(scene: &PostgresScene) {
    let name = &scene.name;
    alone(scene, &format!("ALTER DATABASE {name} RENAME TO lost; ALTER DATABASE older RENAME TO {name}"));
}

/// Longer than a look at the signing keys counts: after it, writes look at the log of `system` first.
const KEYS_ARE_OLD: Duration = Duration::from_secs(7);

/// Writes of each kind: none of them may say anything else than that the store is in doubt.
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
                // This log lost nothing: it is written to until this replica has looked at the one that did.
                Ok(_) => {}
                Err(error) if error.reason == "STORE_IN_DOUBT" => return,
                Err(error) => assert_eq!(error.code, Code::Unavailable, "{error:?}"),
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

/// Reads heartbeats until one is in doubt.
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
    let keys = scene.hub.data_dir().join("keys").display().to_string();
    let arguments: Vec<&str> = LIVELY.iter().copied().chain(["--keys-dir", &keys]).collect();
    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let other = Hub::start_on(directory, scene.hub.database_url.clone(), &arguments).await;
    let elsewhere = other.client_with(Some(scene.hub.token())).await;
    copy(&scene);
    scene.until_written().await;
    eventually("both are back", async || tenant(&elsewhere).await.is_err_and(|error| error.code == Code::NotFound))
        .await;

    // Lost: a namespace, and a role, which stands in the log that has the keys.
    let create = pb::CreateNamespaceRequest { namespace_id: TENANT.to_owned(), ..Default::default() };
    scene.client.create_namespace(create).await.expect("a namespace");
    let granted = try_grant(&scene.client, "local:ann", pb::Role::Viewer, "*").await.expect("a grant").revision;
    let mut watch = watch_tenant(&scene.client).await;
    watching::change(&mut watch).await;
    tenant(&scene.client).await.expect("an empty set");
    // The other replica knows the log of `system`, and not the namespace.
    let listed = async || {
        let request = pb::ListRoleBindingsRequest { parent: "*".to_owned(), ..Default::default() };
        elsewhere.list_role_bindings(request).await.is_ok_and(|page| page.role_bindings.len() == 2)
    };
    eventually("the role", listed).await;
    until("what was seen is kept", || {
        let kept = std::fs::read(other.data_dir().join("high-water.json")).unwrap_or_default();
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap_or_default();
        kept["heads"]["system"]["revision"] == granted
    })
    .await;
    put_back(&scene);

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

    bumped(&scene.hub, &["--accept-loss", "--force"], 2, 2);
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
    assert_eq!((ended.code, ended.reason.as_str()), (Code::NotFound, "NAMESPACE_NOT_FOUND"), "{ended:?}");
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
