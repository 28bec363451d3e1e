//! A full disk is named as such (docs/guarantees.md#g17): reads are answered, writes are refused with the reason, a server starts if SQLite
//! can, and everything recovers when there is free space.

use std::process::Command;

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{active, draft_request, publish, refusal, release, version};
use crate::harness::disk_error::{DiskOperation, ENOSPC, FailingDisk};
use crate::harness::http::metric;
use crate::harness::hub::binary;
use crate::harness::outages::{readyz, until, until_ready};
use crate::harness::postgres::Cluster;
use crate::harness::watching::{self, DEADLINE, LIVELY};
use crate::harness::{Database, Hub};

const FULL: &str = "the disk of the database is full";

/// Checks that a write is refused with this reason; the first one that met the full disk may have an unknown outcome.
async fn refused_for(client: &Client, words: &str) {
    let refused = async {
        loop {
            let error = refusal(client.draft(draft_request("q", "a: 2")).await);
            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
            assert!(error.message().contains(words), "{error:?}");
            if error.reason() == "DATABASE_UNAVAILABLE" {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("a refusal before the deadline");
}

/// Checks that writes work.
async fn writes_go_on(hub: &Hub, client: &Client) {
    until_ready(hub).await;
    client.draft(draft_request("q", "a: 3")).await.expect("there is room again");
    assert_eq!(metric(&hub.http, "policyhub_database_writable"), Some(1.0));
}

/// Starts a server on a disk that is full since it was killed, so that nothing is in its memory.
async fn started_on_full_disk() -> (Hub, FailingDisk) {
    let (mut hub, disk) = Hub::start_on_failing_disk(LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    publish(&hub.client().await, "q", "a: 1").await;
    hub.kill().await;
    disk.fail_all(&[DiskOperation::Write], ENOSPC, &["policyhub.db", "-wal", ".json.new", "admin.token.new"]);
    (hub.restart().await, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_on_a_full_disk_says_so_before_the_first_write() {
    let (hub, disk) = started_on_full_disk().await;
    let says = format!("read-only: {FULL}");
    until("it says that the disk is full", || {
        let (status, body) = readyz(&hub);
        status == 503 && body.starts_with(&says)
    })
    .await;
    assert_eq!(metric(&hub.http, "policyhub_database_writable"), Some(0.0));
    let log = hub.log.lock().expect("the log").clone();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(FULL)), "{log}");
    disk.heal();
    writes_go_on(&hub, &hub.client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_read_is_read_from_a_full_disk() {
    let (hub, disk) = started_on_full_disk().await;
    let client = hub.client().await;
    refused_for(&client, FULL).await;
    // After a refused write, and as the first read of this process.
    assert_eq!(active(&client, "p").await, 1);
    let set = watching::get_set(&client).await;
    assert!(!set.degraded && set.bundles.len() == 1, "{set:?}");
    let request = pb::GetVersionRequest { name: version("q", 1), view: pb::VersionView::Full.into() };
    client.get_version(request).await.expect("what is on the disk");
    let mut watch = watching::open(&client).await;
    watching::change(&mut watch).await;
    refused_for(&client, FULL).await;
    disk.heal();
    writes_go_on(&hub, &client).await;
}

/// Given no space for the index of the write-ahead log, SQLite can't read: the start fails and says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_finds_no_room_at_all_says_so() {
    let (mut hub, disk) = Hub::start_on_failing_disk(LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    disk.fail_all(&[DiskOperation::Write], ENOSPC, &["-shm"]);
    let mut line = binary();
    line.args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir"]).arg(hub.data_dir());
    let output = line.envs(disk.environment()).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("policyhub.db is full") && said.contains("free 1 MiB and start again"), "{said}");
    disk.heal();
    let hub = hub.restart().await;
    assert_eq!(active(&hub.client().await, "p").await, 1);
}

/// Given a limit of the file size, the server survives its signal, which ends a process by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_size_of_files_is_survived() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let limit = |limit: &str| {
        let pid = hub.pid().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}")]).status();
        assert!(done.expect("prlimit runs").success());
    };
    limit("65536:unlimited");
    refused_for(&client, "").await;
    let says = "read-only: a limit of the size of files (ulimit -f)";
    until("it says that a limit is reached", || readyz(&hub).1.starts_with(says)).await;
    refused_for(&client, "ulimit -f").await;
    assert_eq!(active(&client, "p").await, 1);
    limit("unlimited:unlimited");
    writes_go_on(&hub, &client).await;
    assert!(hub.is_running());
}

/// Given a tablespace of PostgreSQL without free space, its error is reported as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_postgresql_is_named_until_a_write_works() {
    let hub = Hub::start_with(Database::Postgres, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let database = hub.database_url.rsplit('/').next().expect("a name").to_owned();
    let sql = |sql: &str| Cluster::shared().psql(&database, sql);
    sql("CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$");
    for table in ["versions", "store_meta"] {
        sql(&format!("CREATE TRIGGER no_room BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION no_room()"));
    }
    refused_for(&client, FULL).await;
    let says = format!("read-only: {FULL}");
    // The state stays, though every second a query runs that writes nothing.
    for _ in 0..20 {
        let (status, body) = readyz(&hub);
        assert!(status == 200 && body.starts_with(&says), "{status} {body}");
        watching::get_set(&client).await;
    }
    let set = watching::get_set(&client).await;
    assert!(!set.degraded, "{set:?}");
    for table in ["versions", "store_meta"] {
        sql(&format!("DROP TRIGGER no_room ON {table}"));
    }
    writes_go_on(&hub, &client).await;
    assert_eq!(sql("SELECT count(*) FROM store_meta WHERE name = 'disk probe'"), "0", "what was tried is undone");
}
