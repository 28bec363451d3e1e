//! PgBouncer: session mode works as installed, the other modes are refused by name.

use std::sync::Arc;

use crate::harness::Hub;
use crate::harness::calls::{active, draft_request, release};
use crate::harness::hub::binary;
use crate::harness::pgbouncer::PgBouncer;
use crate::harness::postgres::Cluster;

fn database(cluster: &Cluster) -> String {
    cluster.create_database().rsplit('/').next().expect("a name").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_and_statement_mode_are_refused_by_name() {
    let cluster = Cluster::shared();
    let name = database(cluster);
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::before(cluster, mode);
        for command in ["migrate", "serve"] {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut process = binary();
            process.args([command, "--database-url", &pooler.url(&name)]).arg("--data-dir").arg(directory.path());
            process.env("POLICYHUB_GRPC_ADDR", "127.0.0.1:0").env("POLICYHUB_HTTP_ADDR", "127.0.0.1:0");
            let output = process.output().expect("the binary runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{mode}: {said}");
            for word in ["PgBouncer", "transaction mode", "session mode"] {
                assert!(said.contains(word), "{mode}: {said} does not say {word:?}");
            }
        }
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(cluster.psql(&name, tables), "0", "a database that is refused stays as it was");
    }
}

/// Returns the message with which `policyhub serve` refuses to start.
fn refused(url: &str, flags: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut process = binary();
    process.args(["serve", "--database-url", url]).args(flags).arg("--data-dir").arg(directory.path());
    process.env("POLICYHUB_GRPC_ADDR", "127.0.0.1:0").env("POLICYHUB_HTTP_ADDR", "127.0.0.1:0");
    let output = process.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// In transaction mode, LISTEN would be lost silently.
#[tokio::test(flavor = "multi_thread")]
async fn a_listen_url_that_leads_to_transaction_mode_is_refused_by_name() {
    let cluster = Cluster::shared();
    let name = database(cluster);
    let pooler = PgBouncer::before(cluster, "transaction");
    let said = refused(&cluster.url(&name), &["--listen-url", &pooler.url(&name)]);
    assert!(said.contains("listen_url leads to a pooler"), "{said}");
}

/// The pooler has no backend for a second connection, and by default waits for one for two minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_without_room_is_refused_in_time() {
    let cluster = Cluster::shared();
    let name = database(cluster);
    let pooler = PgBouncer::with_backends(cluster, "session", 1);
    let said = refused(&pooler.url(&name), &[]);
    assert!(said.contains("database_url gave no two connections that answer within 5 s"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_mode_serves_and_keeps_the_settings_of_a_session() {
    let cluster = Cluster::shared();
    let name = database(cluster);
    let pooler = PgBouncer::before(cluster, "session");
    let directory = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let hub = Hub::start_on(directory, pooler.url(&name), &["--poll-interval-ms", "1000"]).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    assert_eq!(active(&client, "p").await, 1);
    // Timeouts that are set after connecting are in effect.
    let lock = cluster.hold(&name, "default");
    let error = client.draft(draft_request("q", "a: 2")).await.expect_err("locked");
    assert_eq!(error.reason(), "LOCK_TIMEOUT", "{error:?}");
    cluster.release(&name, lock);
    // So is LISTEN.
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    while cluster.psql(&name, listening) != "1" {}
}
