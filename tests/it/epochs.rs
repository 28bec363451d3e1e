//! Epochs (docs/guarantees.md#g1b): a store that lost its tail is read-only until an operator accepts the loss, and never uses one (epoch,
//! revision) twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::events::audit;
use crate::harness::calls::{
    NAMESPACE, Revision as _, active, create, draft, draft_request, events, publish, refused, release, trust,
    try_activate,
};
use crate::harness::http::{get, metric};
use crate::harness::postgres::Cluster;
use crate::harness::proxy::NetworkProxy;
use crate::harness::watching::{self, DEADLINE, LIVELY};
use crate::harness::{Database, Hub};

const SYSTEM: &str = "namespaces/system";
const IN_DOUBT: &str = "policyhub_store_in_doubt";

/// The event that was read at each (namespace, epoch, revision).
type ReadLogs = BTreeMap<(String, i64, i64), Vec<u8>>;

/// Adds both logs, which must verify and must not use a cursor that another event had.
async fn read_logs(client: &Client, said: &mut ReadLogs) {
    for parent in [NAMESPACE, SYSTEM] {
        let log = events(client, parent, 0).await;
        for event in &log {
            let cursor = event.cursor.expect("a cursor");
            let name = (parent.to_owned(), cursor.epoch, cursor.revision);
            let before = said.insert(name.clone(), event.hash.to_vec());
            assert!(before.is_none_or(|before| before == event.hash), "{name:?} is said of two events");
        }
        if parent == NAMESPACE {
            audit(&log, &trust(client).await);
        }
    }
}

/// Returns `policyhub epoch …` beside the server.
fn epoch_command(hub: &Hub, arguments: &[&str]) -> Command {
    let mut command = hub.cli();
    command.arg("epoch").args(arguments).args(["--output", "json", "--database-url", &hub.database_url, "--keys-dir"]);
    command.arg(hub.data_dir().join("keys"));
    command
}

/// Runs `policyhub epoch …` beside the server and returns its exit code and output.
pub fn epoch(hub: &Hub, arguments: &[&str]) -> (i32, String) {
    output_of(epoch_command(hub, arguments))
}

fn output_of(mut command: Command) -> (i32, String) {
    let output = command.output().expect("the binary runs");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&said).into_owned())
}

pub fn json(said: &str) -> serde_json::Value {
    serde_json::from_str(said).unwrap_or_else(|error| panic!("{said}: {error}"))
}

/// Runs a bump, which must raise this many logs to this epoch. Open streams go on meanwhile: they end when nobody reads them for seconds.
pub async fn bumped(hub: &Hub, flags: &[&str], epoch_now: i64, raised: i64) {
    let arguments: Vec<&str> = ["bump"].iter().chain(flags).copied().collect();
    let command = epoch_command(hub, &arguments);
    let (code, said) = tokio::task::spawn_blocking(move || output_of(command)).await.expect("the command ends");
    assert_eq!(code, 0, "{said}");
    assert_eq!(json(&said), serde_json::json!({"epoch": epoch_now, "raised": raised, "unwitnessed": false}));
}

/// Checks that the server is read-only and reports it everywhere.
pub async fn is_in_doubt(hub: &Hub, client: &Client, words: &str) {
    let error = refused(client.draft(draft_request("p", "a: 9")).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
    assert!(
        error.message().contains(words) && error.message().contains("policyhub epoch bump --accept-loss"),
        "{error:?}"
    );
    let create = pb::CreateNamespaceRequest { namespace_id: "tenant".to_owned(), ..Default::default() };
    refused(client.create_namespace(create).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
    assert_eq!(metric(&hub.http, IN_DOUBT), Some(1.0));
    let (status, _, body) = get(&hub.http, "/readyz").expect("an answer");
    assert_eq!(status, 200);
    assert!(body.starts_with("read-only: ") && body.contains(words), "{body}");
    let log = hub.log.lock().expect("the log").clone();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("in doubt")), "{log}");
    let (code, said) = epoch(hub, &["show"]);
    assert_eq!(code, 0, "{said}");
    assert!(json(&said)["doubt"].as_str().expect("a doubt").contains(words), "{said}");
    // The loss must be accepted by an explicit flag.
    let (code, said) = epoch(hub, &["bump"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--accept-loss"), "{said}");
}

/// Waits until the server suspects data loss; no write may succeed before.
pub async fn nothing_is_written_until_in_doubt(client: &Client) {
    let doubt = async {
        loop {
            let error = client.draft(draft_request("p", "a: 9")).await.expect_err("nothing may be written");
            if error.reason() == "STORE_IN_DOUBT" {
                return;
            }
            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        }
    };
    tokio::time::timeout(DEADLINE, doubt).await.expect("doubt before the deadline");
}

/// Checks that writes work again without a restart.
pub async fn writes_go_on(client: &Client, policy: &str) {
    let wait = async {
        loop {
            match client.draft(draft_request(policy, "a: later")).await {
                Ok(_) => return,
                Err(error) => {
                    // Access is denied while a test copies or replaces the database.
                    let expected = ["STORE_IN_DOUBT", "DATABASE_UNAVAILABLE", "DATABASE_ACCESS_DENIED"];
                    assert!(expected.contains(&error.reason()), "{error:?}")
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("writes before the deadline");
}

/// Returns the kind and cursor of the last event of a log.
async fn last(client: &Client, parent: &str) -> (pb::EventKind, pb::Cursor) {
    let log = events(client, parent, 0).await;
    let event = log.last().expect("an event");
    (event.kind(), watching::without_fingerprint(event.cursor).expect("a cursor"))
}

/// Puts a copy of a database in the place of a SQLite file.
pub fn restore(copy: &Path, database: &Path) {
    for extension in ["db-wal", "db-shm"] {
        let _ = std::fs::remove_file(database.with_extension(extension));
    }
    std::fs::copy(copy, database).expect("the backup");
}

#[tokio::test]
async fn an_older_backup_is_read_only_until_the_loss_is_accepted() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let hub = hub.restart_in_order().await;
    let database = hub.data_dir().join("policyhub.db");
    let copy = hub.data_dir().join("backup.db");
    hub.tamper(&format!("VACUUM INTO '{}'", copy.display()));
    let client = hub.client().await;
    release(&client, "p", "a: 2").await;
    create(&client, "lost", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
    let tenant = pb::CreateNamespaceRequest { namespace_id: "tenant".to_owned(), ..Default::default() };
    client.create_namespace(tenant.clone()).await.expect("a namespace");
    let mut said = ReadLogs::new();
    read_logs(&client, &mut said).await;
    let lost = watching::head(&client).await;

    let mut hub = hub;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    restore(&copy, &database);
    let hub = hub.restart().await;
    let client = hub.client().await;
    is_in_doubt(&hub, &client, "was seen").await;
    // Reads and watches go on with what is there.
    assert_eq!(active(&client, "p").await, 1);
    let mut watch = watching::open(&client).await;
    watching::change(&mut watch).await;
    assert_eq!(watching::held(&watch), watching::in_force(&client).await);
    drop(watch);
    // Another start changes nothing.
    let hub = hub.restart_in_order().await;
    let client = hub.client().await;
    is_in_doubt(&hub, &client, "was seen").await;

    let head = watching::head(&client).await;
    assert!(head < lost);
    bumped(&hub, &["--accept-loss"], 2, 2).await;
    assert_eq!(
        last(&client, NAMESPACE).await,
        (pb::EventKind::BumpEpoch, pb::Cursor { epoch: 2, revision: head + 1, ..Default::default() })
    );
    assert_eq!(last(&client, SYSTEM).await.0, pb::EventKind::BumpEpoch);
    writes_go_on(&client, "p").await;
    // The bump activated nothing.
    assert_eq!(active(&client, "p").await, 1);
    while watching::head(&client).await <= lost {
        draft(&client, "p", "a: more").await;
    }
    // A namespace that was lost and is created again begins in the new epoch.
    let made = client.create_namespace(tenant).await.expect("a namespace").namespace.expect("a namespace");
    assert_eq!(made.head, Some(pb::Cursor { epoch: 2, revision: 0, ..Default::default() }));
    read_logs(&client, &mut said).await;
    assert_eq!(metric(&hub.http, IN_DOUBT), Some(0.0));
    assert_eq!(get(&hub.http, "/readyz").expect("an answer").2, "ok\n");

    // A second bump changes nothing.
    bumped(&hub, &["--accept-loss"], 2, 0).await;
    let hub = hub.restart_in_order().await;
    let client = hub.client().await;
    writes_go_on(&client, "p").await;
    try_activate(&client, "p", 1, None).await.expect("an activation in the new epoch");
    read_logs(&client, &mut said).await;
}

/// The high-water file is a second record: without it, nothing shows a loss. One that can't be read is refused (`lost_files.rs`).
#[tokio::test]
async fn a_missing_memory_is_no_doubt() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let file = hub.data_dir().join("high-water.json");
    let ahead = r#""heads":{"default":{"epoch":9,"revision":9}}}"#;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    std::fs::remove_file(&file).expect("the memory");
    let mut hub = hub.restart().await;
    let client = hub.client().await;
    draft(&client, "p", "a: 1").await;
    // While the server runs, the file follows the head.
    let head = watching::head(&client).await;
    let saved = async {
        loop {
            if hub.seen_revision("default") == Some(head) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, saved).await.expect("a memory before the deadline");
    // With this file, a store that is behind it suspects data loss.
    let id = trust(&hub.client().await).await.store;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    std::fs::write(&file, format!("{{\"store\":\"{id}\",{ahead}")).expect("a file");
    let hub = hub.restart().await;
    let client = hub.client().await;
    is_in_doubt(&hub, &client, "epoch 9, revision 9 was seen").await;
    // The new epoch is above every epoch that was ever seen.
    bumped(&hub, &["--accept-loss"], 10, 2).await;
    writes_go_on(&client, "p").await;
}

/// Given a bump that could not raise every log, a second one continues where it ended, in the same epoch.
#[tokio::test]
async fn a_bump_that_was_interrupted_is_ended() {
    let hub = Hub::start_with(Database::Postgres, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    bumped(&hub, &["--accept-loss"], 1, 0).await;
    let name = hub.database_url.rsplit('/').next().expect("a name").to_owned();
    let lock = Cluster::shared().hold(&name, "default");
    let (code, said) = epoch(&hub, &["bump", "--accept-loss", "--force"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("run it again"), "{said}");
    assert_eq!(json(&epoch(&hub, &["show"]).1)["unfinished"], 2);
    Cluster::shared().release(&name, lock);

    bumped(&hub, &["--accept-loss"], 2, 1).await;
    for parent in [NAMESPACE, SYSTEM] {
        let (kind, cursor) = last(&client, parent).await;
        assert_eq!((kind, cursor.epoch), (pb::EventKind::BumpEpoch, 2), "{parent}");
    }
    bumped(&hub, &["--accept-loss"], 2, 0).await;
    writes_go_on(&client, "p").await;
    read_logs(&client, &mut ReadLogs::new()).await;
}

/// A real asynchronous standby that never got the last changes is promoted under a running server.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_lost_the_tail_is_promoted() {
    let primary = Cluster::start(&[]);
    let data = primary.data();
    let database = primary.create_database();
    let name = database.rsplit('/').next().expect("a name").to_owned();
    let proxy = NetworkProxy::before(primary.port).await;
    let url = database.replace(&format!(":{}/", primary.port), &format!(":{}/", proxy.port));
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let hub = Hub::start_on(dir, url, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;

    let standby = primary.standby();
    publish(&client, "p", "a: 2").await;
    let count = "SELECT count(*) FROM events";
    let here = primary.psql(&name, count);
    while standby.psql(&name, count) != here {}
    standby.psql("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
    standby.psql("postgres", "SELECT pg_reload_conf()");
    while standby.psql("postgres", "SELECT count(*) FROM pg_stat_wal_receiver") != "0" {}
    // This write is acknowledged, and then lost.
    try_activate(&client, "p", 2, None).await.expect("an activation");
    let mut said = ReadLogs::new();
    read_logs(&client, &mut said).await;
    primary.stop(&data);
    standby.promote();
    proxy.aim(standby.port);

    nothing_is_written_until_in_doubt(&client).await;
    is_in_doubt(&hub, &client, "system identifier and timeline").await;
    assert_eq!(active(&client, "p").await, 1, "the loss shows");
    let hub = hub.restart_in_order().await;
    let client = hub.client().await;
    is_in_doubt(&hub, &client, "system identifier and timeline").await;

    bumped(&hub, &["--accept-loss"], 2, 2).await;
    writes_go_on(&client, "p").await;
    try_activate(&client, "p", 2, None).await.expect("it is not active here");
    read_logs(&client, &mut said).await;
    bumped(&hub, &["--accept-loss"], 2, 0).await;
    let hub = hub.restart_in_order().await;
    writes_go_on(&hub.client().await, "p").await;
}

/// Given an outcome that a client got under the lock of a namespace, its next read is not older (docs/guarantees.md#g4): here a repeated
/// request that was answered before, while another process wrote.
#[tokio::test]
async fn what_a_retry_found_is_what_is_read_next() {
    let hub =
        Hub::start_with(Database::Sqlite, &["--poll-interval-ms", "1000", "--heartbeat-interval-ms", "1000"]).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let request = pb::DraftRequest { request_id: "again".to_owned(), ..draft_request("p", "a: 2") };
    let before = client.draft(request.clone()).await.expect("a draft");
    watching::get_set(&client).await;
    bumped(&hub, &["--accept-loss", "--force"], 2, 2).await;
    let again = client.draft(request).await.expect("the same answer");
    assert_eq!(again.cursor.revision(), before.cursor.revision());
    let cursor = watching::get_set(&client).await.cursor.expect("a cursor");
    assert_eq!(cursor.epoch, 2, "older than what the retry found: {cursor:?}");
}
