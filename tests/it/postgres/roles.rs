//! Separate roles for migrating and serving, by exactly the statements of docs/operations/deploy.md.

use std::process::Output;
use std::sync::Arc;

use crate::harness::Hub;
use crate::harness::calls::{active, release};
use crate::harness::hub::binary;
use crate::harness::postgres::Cluster;

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
    let output = run("serve", &server, &[]);
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
