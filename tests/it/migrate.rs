//! Migration: alone, repeated, and by several processes at once.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::harness::calls::{active, release};
use crate::harness::disk_error::{DiskOperation, FailingDisk, HANGS};
use crate::harness::hub::binary;
use crate::harness::outages::until;
use crate::harness::postgres::Cluster;
use crate::harness::sqlite_shell::SqliteShell;
use crate::harness::{Database, Hub, on_both_databases};

fn migrate(url: &str) -> Child {
    migrate_in(binary(), url)
}

fn migrate_in(mut command: Command, url: &str) -> Child {
    command.args(["migrate", "--database-url", url]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

/// Returns whether a process has a file of this name open.
fn has_open(process: &Child, name: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{}/fd", process.id())) else { return false };
    open.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|file| file.ends_with(name)))
}

fn succeeds(child: Child) {
    let output = child.wait_with_output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a new database and the data directory of its server.
fn new_database(database: Database) -> (Arc<tempfile::TempDir>, String) {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let url = match database {
        Database::Sqlite => format!("sqlite://{}", dir.path().join("data/policyhub.db").display()),
        Database::Postgres => Cluster::shared().create_database(),
    };
    (dir, url)
}

/// Checks that the server works and that the schema was created once.
async fn works(hub: &Hub) {
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    assert_eq!(active(&client, "p").await, 1);
    assert_eq!(hub.tamper("SELECT count(*) FROM seaql_migrations"), "18");
    assert_eq!(hub.tamper("SELECT count(*) FROM namespaces WHERE id IN ('system', 'default')"), "2");
    assert_eq!(hub.tamper("SELECT count(*) FROM namespaces"), "2");
    assert_eq!(
        hub.tamper("SELECT head_revision FROM namespaces WHERE id = 'system'"),
        "3",
        "the key, the namespace and the admin, made by one"
    );
}

on_both_databases! {
    async fn a_migrated_database_can_be_served_and_migrated_again(database: Database) {
        let (dir, url) = new_database(database);
        succeeds(migrate(&url));
        succeeds(migrate(&url));
        let hub = Hub::start_on(dir, url.clone(), &["--migrate=false"]).await;
        works(&hub).await;
        // Also beside a running server.
        succeeds(migrate(&url));
        assert_eq!(active(&hub.client().await, "p").await, 1);
    }

    async fn several_migrate_at_once(database: Database) {
        for _ in 0..3 {
            let (dir, url) = new_database(database);
            let migrating: Vec<Child> = (0..4).map(|_| migrate(&url)).collect();
            migrating.into_iter().for_each(succeeds);
            works(&Hub::start_on(dir, url, &["--migrate=false"]).await).await;
        }
    }

    async fn one_serves_while_others_migrate(database: Database) {
        for _ in 0..3 {
            let (dir, url) = new_database(database);
            let migrating: Vec<Child> = (0..3).map(|_| migrate(&url)).collect();
            let hub = Hub::start_on(dir, url, &[]).await;
            migrating.into_iter().for_each(succeeds);
            works(&hub).await;
        }
    }
}

#[tokio::test]
async fn two_servers_begin_a_database_at_once() {
    for _ in 0..3 {
        let (dir, url) = new_database(Database::Postgres);
        let other_dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let keys = dir.path().join("keys").display().to_string();
        let arguments = ["--keys-dir", keys.as_str()];
        let migrating = [migrate(&url), migrate(&url)];
        let (one, other) =
            tokio::join!(Hub::start_on(dir, url.clone(), &arguments), Hub::start_on(other_dir, url, &arguments));
        migrating.into_iter().for_each(succeeds);
        works(&one).await;
        assert_eq!(active(&other.client().await, "p").await, 1);
    }
}

/// Given a process that changes a new file to WAL, it holds a lock for which SQLite does not wait; so a second process waits before it
/// opens the file.
#[tokio::test]
async fn a_file_that_somebody_else_is_making_is_not_opened() {
    let (dir, url) = new_database(Database::Sqlite);
    let disk = FailingDisk::new(dir.path());
    disk.fail(DiskOperation::Write, 1, 0, HANGS, &["/policyhub.db"]);
    let mut first = binary();
    first.envs(disk.environment());
    let first = migrate_in(first, &url);
    until("the first one writes", || disk.failures() > 0).await;
    let mut second = migrate(&url);
    until("the second one waits, or has ended", || {
        has_open(&second, "policyhub.migrate.lock") || second.try_wait().expect("a child").is_some()
    })
    .await;
    disk.heal();
    succeeds(first);
    succeeds(second);
    works(&Hub::start_on(dir, url, &["--migrate=false"]).await).await;
}

/// Given a restored backup, which has no write-ahead log yet, a process that finds it locked for a moment waits.
#[tokio::test]
async fn a_file_without_a_write_ahead_log_that_somebody_holds_is_waited_for() {
    let (dir, url) = new_database(Database::Sqlite);
    succeeds(migrate(&url));
    let (database, disk) = (dir.path().join("data/policyhub.db"), FailingDisk::new(dir.path()));
    let change =
        "import sqlite3,sys;print(sqlite3.connect(sys.argv[1]).execute('pragma journal_mode=delete').fetchall())";
    let changed = Command::new("python3").args(["-c", change]).arg(&database).output().expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&changed.stdout), "[('delete',)]\n");
    let holder = SqliteShell::writing(&database);
    // The opens are: create the file when it is absent; open it and find it locked; open it again.
    disk.fail(DiskOperation::Open, 3, 0, HANGS, &["/policyhub.db"]);
    let mut command = binary();
    command.envs(disk.environment());
    let mut waiting = migrate_in(command, &url);
    until("it tries again, or has ended", || disk.failures() > 0 || waiting.try_wait().expect("a child").is_some())
        .await;
    holder.end();
    disk.heal();
    succeeds(waiting);
    works(&Hub::start_on(dir, url, &["--migrate=false"]).await).await;
}
