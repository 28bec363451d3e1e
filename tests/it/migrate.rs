//! Migrating: alone, again, and by several processes at once.

use std::process::{Child, Stdio};
use std::sync::Arc;

use crate::harness::calls::{active, release};
use crate::harness::hub::binary;
use crate::harness::postgres::Cluster;
use crate::harness::{Database, Hub, on_both_databases};

fn migrate(url: &str) -> Child {
    let mut command = binary();
    command.args(["migrate", "--database-url", url]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs")
}

fn succeeds(child: Child) {
    let output = child.wait_with_output().expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A new database, and the directory its server would have.
fn new_database(database: Database) -> (Arc<tempfile::TempDir>, String) {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let url = match database {
        Database::Sqlite => format!("sqlite://{}", dir.path().join("data/policyhub.db").display()),
        Database::Postgres => Cluster::shared().create_database(),
    };
    (dir, url)
}

/// The server works, and the schema was made once.
async fn works(hub: &Hub) {
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    assert_eq!(active(&client, "p").await, 1);
    assert_eq!(hub.tamper("SELECT count(*) FROM seaql_migrations"), "7");
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
        // Also beside a server that runs.
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
