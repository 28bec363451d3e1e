//! Clocks that jump or disagree: subscribers that are online stay online, and a watch continues.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::agents::{self, AgentProcess, folder, is, status};
use crate::harness::calls::{activate, head, publish, release};
use crate::harness::postgres::Cluster;
use crate::harness::postgres_scene::{PostgresScene, ROLE};
use crate::harness::subscribing::{at, convergence, counts, eventually, subscribe, subscriber};
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub, clock, on_both_databases};

const HOUR: i64 = 3_600;

/// Starts a server whose clock can be shifted, on a new database.
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
    /// Given a jump of the server's clock, no stream closed, so nobody is offline and nothing has converged: neither at once nor while
    /// leases are renewed.
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

on_both_databases! {
    with LIVELY;

    /// Given an agent whose clock is set back, it is stale: otherwise an earlier checkpoint would seem fresh for that much longer.
    async fn an_agent_whose_clock_is_set_back_is_stale(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        clock::build(hub.dir.path());
        let folder = folder(&hub);
        let mut command = agents::command(&hub, &folder, &[]);
        clock::preload(hub.dir.path(), &mut command);
        let agent = AgentProcess::spawn(command);
        is(&folder, "READY").await;
        for _ in 0..2 {
            clock::shift(hub.dir.path(), -HOUR);
            is(&folder, "STALE").await;
            let said = status(&folder);
            let problem = said["problem"].as_str().expect("a problem");
            assert!(problem.contains("nothing proves that what is held is the newest"), "{said}");
            assert_eq!((&said["connected"], &said["fresh_until"]), (&json!(true), &Value::Null), "{said}");
            clock::shift(hub.dir.path(), 0);
            is(&folder, "READY").await;
        }
        agent.end("TERM").await;
    }

    /// Given a lease that a replica wrote while its clock was ahead, and that nobody renews since the replica was killed, it lapses after
    /// 30 s like any other.
    async fn a_lease_that_a_clock_wrote_which_was_ahead_lapses(hub: Hub) {
        let client = hub.client().await;
        let version = publish(&client, "p", "a: 1").await.version;
        let revision = activate(&client, "p", version).await;
        let stream = subscribe(&client, "shop").await;
        eventually("it is online", async || counts(&client, revision).await == [0, 0, 1, 0]).await;
        drop(stream);
        eventually("its stream ended", async || counts(&client, revision).await == [0, 0, 0, 1]).await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let ahead = (now + HOUR.unsigned_abs()) * 1_000_000;
        hub.tamper(&format!("INSERT INTO replicas (id, renew_time) VALUES ('killed', {ahead})"));
        // With its replica, and as one that was handed over.
        for end in [i64::MAX.unsigned_abs(), ahead] {
            hub.tamper(&format!("UPDATE subscribers SET lease_end_time = {end}, holder = 'killed' WHERE id = 'shop'"));
            assert!(subscriber(&client, "shop").await.online, "{end}");
            eventually("it is offline", async || counts(&client, revision).await == [0, 0, 0, 1]).await;
        }
    }
}

/// Returns when the only replica's lease ends, in seconds after PostgreSQL's true time.
fn lease_left(scene: &PostgresScene) -> f64 {
    let left = "SELECT max(renew_time) / 1e6 + 30 - extract(epoch FROM pg_catalog.clock_timestamp()) FROM replicas";
    scene.sql(left).parse().expect("seconds")
}

/// Given a jump of PostgreSQL's clock, by which leases are written, that is corrected within 30 s, nobody is offline.
#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_postgresqls_clock_that_is_corrected_takes_nobody_offline() {
    let scene = PostgresScene::start(&[]).await;
    // For the server's role this function is found before PostgreSQL's own.
    scene.sql(&format!(
        "CREATE TABLE shift AS SELECT 0 AS seconds; GRANT SELECT ON shift TO {ROLE}; \
         CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT \
         pg_catalog.clock_timestamp() + make_interval(secs => (SELECT seconds FROM public.shift)) $$; \
         ALTER ROLE {ROLE} SET search_path = public, pg_catalog"
    ));
    scene.end_connections();
    scene.until_written().await;
    let shift = |seconds: i64| drop(scene.sql(&format!("UPDATE shift SET seconds = {seconds}")));
    let revision = activate(&scene.client, "p", publish(&scene.client, "p", "a: 2").await.version).await;
    let _stream = subscribe(&scene.client, "shop").await;
    eventually("it is online", async || counts(&scene.client, revision).await == [0, 0, 1, 0]).await;
    shift(-HOUR);
    eventually("its lease is by that clock", async || lease_left(&scene) < 0.0).await;
    shift(0);
    let renewed = async || {
        // Check this before the lease, which was not renewed by then.
        assert_eq!(counts(&scene.client, revision).await, [0, 0, 1, 0], "its stream never closed");
        lease_left(&scene) > 0.0
    };
    eventually("its lease is by the true clock", renewed).await;
    assert_eq!(counts(&scene.client, revision).await, [0, 0, 1, 0]);
}

/// Given a server whose clock is an hour ahead of the subscriber's, signed messages are accepted, and nothing counts as fresh by that
/// clock.
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
    // The version has been drafted, staged or published before, so the activation has the next revision.
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
    let ahead =
        err.split_once("the server's clock is ").and_then(|(_, rest)| rest.split_once(" s ahead of this machine's"));
    let seconds: i64 = ahead.and_then(|(seconds, _)| seconds.parse().ok()).expect("it says how far");
    // What the message took on its way is missing.
    assert!((HOUR - 60..=HOUR).contains(&seconds), "{err}");
    assert!(out.contains("\"activation\"") && !err.contains("going on from"), "one stream, not cut: {out} {err}");
}
