//! Clocks that jump or do not agree: who is online stays online, and a watch goes on.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::calls::{activate, head, publish};
use crate::harness::postgres::Cluster;
use crate::harness::subscribing::{at, convergence, counts, eventually, subscribe};
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub, clock, on_both_databases};

const HOUR: i64 = 3_600;

/// A server whose clock can be shifted, on a new database.
async fn shiftable(database: Database) -> Hub {
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    clock::build(dir.path());
    let url = match database {
        Database::Sqlite => format!("sqlite://{}", dir.path().join("data/policyhub.db").display()),
        Database::Postgres => Cluster::shared().create_database(),
    };
    Hub::start_on(dir, url, LIVELY).await
}

on_both_databases! {
    /// No stream closed, so nobody is offline, and nothing is settled: neither at once nor while leases are written anew.
    async fn a_jump_of_the_servers_clock_takes_nobody_offline(database: Database) {
        let hub = shiftable(database).await;
        let client = hub.client().await;
        let version = publish(&client, "p", "a: 1").await.version;
        let revision = activate(&client, "p", version).await;
        let stream = subscribe(&client, "shop").await;
        eventually("it is online", async || counts(&client, revision).await == [0, 0, 1, 0]).await;
        for shift in [HOUR, 0, 2 * HOUR] {
            clock::shift(hub.dir.path(), shift);
            assert_eq!(counts(&client, revision).await, [0, 0, 1, 0], "at once, {shift}");
            let waited = convergence(&client, at(revision), Duration::from_secs(3)).await.expect("an answer");
            assert!(!waited.settled && waited.pending == 1, "{shift}: {waited:?}");
        }
        drop(stream);
        eventually("it is offline", async || counts(&client, revision).await == [0, 0, 0, 1]).await;
        clock::shift(hub.dir.path(), 0);
        assert_eq!(counts(&client, revision).await, [0, 0, 0, 1], "what ended is not online again by another clock");
    }
}

/// The server's clock is an hour ahead of the subscriber's: what is signed is taken, and nothing is called fresh by it.
#[tokio::test]
async fn a_watch_goes_on_before_a_server_whose_clock_is_ahead() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let client = hub.client().await;
    let version = publish(&client, "p", "a: 1").await.version;
    let first = activate(&client, "p", version).await;
    clock::build(hub.dir.path());
    clock::shift(hub.dir.path(), -HOUR);
    let mut command = hub.cli();
    clock::preload(hub.dir.path(), &mut command);
    command.args([
        "watch",
        "--heartbeats",
        "--output",
        "json",
        "--subscriber-id",
        "shop",
        "--report",
        "--until-revision",
    ]);
    let version = publish(&client, "p", "a: 2").await;
    // Drafted, staged or published before: the activation is the next revision.
    let wanted = head(&client).await + 1;
    command.arg(wanted.to_string());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    eventually("it holds the snapshot", async || counts(&client, first).await == [1, 0, 0, 0]).await;
    let second = activate(&client, "p", version.version).await;
    assert_eq!(second, wanted);
    let output = ended.await.expect("a thread").expect("an output");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("the server's clock is 36") && err.contains(" s ahead of this machine's"), "{err}");
    assert!(out.contains("\"activation\"") && !err.contains("going on from"), "one stream, not cut: {out} {err}");
}
