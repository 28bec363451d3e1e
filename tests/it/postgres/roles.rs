//! Separate roles for migrating and serving, by exactly the statements of docs/operations/deploy.md.

use std::process::Output;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::harness::Hub;
use crate::harness::calls::{active, draft_request, release};
use crate::harness::hub::binary;
use crate::harness::postgres::Cluster;
use crate::harness::postgres_scene::{PostgresScene, ROLE};

/// Number of writes at once: some wait for the others, none for so long that it is refused.
const WRITERS: usize = 4;

/// Returns the SQL under a heading of a document.
fn sql_under(heading: &str) -> String {
    let document = include_str!("../../../docs/operations/deploy.md");
    let section = document.split_once(heading).expect("the heading").1;
    let block = section.split_once("```sql\n").expect("a block of SQL").1;
    block.split_once("```").expect("its end").0.to_owned()
}

fn run(command: &str, url: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut process = binary();
    process.arg(command).args(["--database-url", url]).args(arguments).arg("--data-dir").arg(directory.path());
    process.output().expect("the binary runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_grants_are_enough_for_both() {
    let cluster = Cluster::start(&[]);
    let url = cluster.create_database();
    let name = url.rsplit('/').next().expect("a name");
    cluster.psql(name, &sql_under("### Roles of the database"));
    let migrator = url.replace("//postgres@", "//policyhub_migrator@");
    let server = url.replace("//postgres@", "//policyhub_server@");

    // The server's role can't migrate, and the message says what to do.
    let free_ports = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--console-addr", "off"];
    let output = run("serve", &server, &free_ports);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("policyhub migrate") && said.contains("--migrate=false"), "{said}");
    let output = run("migrate", &migrator, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let hub = Hub::start_on(directory.clone(), server.clone(), &["--migrate=false"]).await;
    release(&hub.client().await, "p", "a: 1").await;
    drop(hub);
    // It may change rows and nothing else.
    let refused = cluster.try_psql(name, "SET ROLE policyhub_server; CREATE TABLE mine (a int)").expect_err("no right");
    assert!(refused.contains("permission denied"), "{refused}");
    let refused = cluster.try_psql(name, "SET ROLE policyhub_server; DROP TABLE events").expect_err("no right");
    assert!(refused.contains("must be owner"), "{refused}");

    // On a current schema, a server without the setting still serves, and names the setting in its log.
    let hub = Hub::start_on(directory, server, &[]).await;
    assert_eq!(active(&hub.client().await, "p").await, 1);
    let log = hub.log.lock().expect("the log").clone();
    assert!(log.contains("--migrate=false"), "{log}");
}

/// Given a role whose transactions keep their first snapshot by default, a write that waited for its namespace sees what the one before it
/// wrote.
#[tokio::test(flavor = "multi_thread")]
async fn the_isolation_of_a_role_makes_no_write_fail() {
    let scene = PostgresScene::start(&[]).await;
    for isolation in ["repeatable read", "serializable"] {
        scene.sql(&format!("ALTER ROLE {ROLE} SET default_transaction_isolation = '{isolation}'"));
        scene.end_connections();
        scene.until_written().await;
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let client = scene.client.clone();
            writers.spawn(async move { client.draft(draft_request("q", &format!("a: {number}"))).await });
        }
        for written in writers.join_all().await {
            written.expect("a write");
        }
    }
}
