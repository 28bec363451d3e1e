//! A PostgreSQL that answers but refuses to work: each cause is reported by name, in time, and the server recovers by itself.

use std::fs;
use std::time::Instant;

use policyhub::client::ClientError;

use crate::harness::calls::{active, draft_request};
use crate::harness::http::get;
use crate::harness::postgres_scene::{PostgresScene, REFUSED_WITHIN, ROLE};
use crate::outage::raw;

/// Number of writers that wait for the same lock.
const WRITERS: usize = 3;
/// Number of writers, of whom half get no connection: a server has 12 for writes.
const TOO_MANY_WRITERS: usize = 24;
/// Number of calls, one after the other, while the server finds the cause.
const FIRST_CALLS: usize = 20;
/// A transaction waits for 2.4 s in total, and PostgreSQL may be late. Each single lock could take 2 s.
const WAITS_MAX_SECONDS: f64 = 3.5;

/// Checks that the command line reports the reason of a refused write, in time.
fn told_on_the_command_line(scene: &PostgresScene, reason: &str) {
    let file = scene.hub.data_dir().join("content.yaml");
    fs::write(&file, "a: 3").expect("a file");
    let began = Instant::now();
    let output = scene.hub.cli().args(["draft", "q"]).arg(&file).output().expect("the binary runs");
    let (took, said) = (began.elapsed(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(said.contains(reason), "{said}");
    assert!(took < REFUSED_WITHIN, "{took:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_somebody_else() {
    let scene = PostgresScene::start(&[]).await;
    scene.until_written().await;
    let lock = scene.cluster.hold(&scene.name, "default");
    assert_eq!(scene.write().await.expect_err("locked").reason(), "LOCK_TIMEOUT");
    told_on_the_command_line(&scene, "LOCK_TIMEOUT");
    let (status, _, body) = get(&scene.hub.http, "/readyz").expect("an answer");
    assert_eq!((status, body.as_str()), (200, "ok\n"), "one namespace is no outage");
    scene.cluster.release(&scene.name, lock);
    scene.until_written().await;

    // A whole table, as ALTER TABLE and VACUUM FULL lock it: roles, keys and heads need it too.
    let lock = scene.cluster.hold_by(&scene.name, "LOCK TABLE namespaces");
    for _ in 0..3 {
        assert_eq!(scene.write().await.expect_err("locked").reason(), "LOCK_TIMEOUT");
    }
    told_on_the_command_line(&scene, "LOCK_TIMEOUT");
    scene.cluster.release(&scene.name, lock);
    scene.until_written().await;

    // The table that each new connection reads first.
    let lock = scene.cluster.hold_by(&scene.name, "LOCK TABLE store_meta");
    scene.end_connections();
    scene.until_refused("LOCK_TIMEOUT").await;
    scene.until_readyz("somebody else holds a lock").await;
    scene.cluster.release(&scene.name, lock);
    scene.until_written().await;
    scene.until_readyz("ok\n").await;
}

/// Given writers that wait for their namespace and then for a table, the total wait is bounded, as PostgreSQL measures it.
#[tokio::test(flavor = "multi_thread")]
async fn locks_that_are_waited_for_one_after_the_other() {
    let scene = PostgresScene::start(&[]).await;
    scene.until_written().await;
    let lock = scene.cluster.hold_by(&scene.name, "LOCK TABLE events");
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let mut bare = raw(&scene.hub).await;
        writes.spawn(async move { bare.draft(draft_request("q", "a: 2")).await });
    }
    let oldest = format!(
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity \
         WHERE usename = '{ROLE}' AND wait_event_type = 'Lock'"
    );
    let (mut longest, mut reasons) = (0.0_f64, Vec::new());
    while !writes.is_empty() {
        longest = longest.max(scene.sql(&oldest).parse().expect("seconds"));
        while let Some(write) = writes.try_join_next() {
            reasons.push(ClientError::from(write.expect("a write").expect_err("locked")).reason().to_owned());
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(reasons, ["LOCK_TIMEOUT"; WRITERS]);
    assert!(longest < WAITS_MAX_SECONDS, "a transaction waited for {longest} s");
    scene.cluster.release(&scene.name, lock);
    scene.until_written().await;
}

/// The second writer that waits for a row takes two locks in turn.
#[tokio::test(flavor = "multi_thread")]
async fn several_who_wait_for_one_namespace() {
    let scene = PostgresScene::start(&[]).await;
    scene.until_written().await;
    let lock = scene.cluster.hold(&scene.name, "default");
    let mut writes = tokio::task::JoinSet::new();
    for index in 0..WRITERS {
        // While the one before still waits for its first lock, and not much longer.
        let late = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}' AND wait_event_type = 'Lock' \
             AND clock_timestamp() - xact_start > interval '0.5 s'"
        );
        while scene.sql(&late) != index.to_string() && writes.len() == index {}
        let mut bare = raw(&scene.hub).await;
        writes.spawn(async move { bare.draft(draft_request("q", "a: 2")).await });
    }
    for write in writes.join_all().await {
        assert_eq!(ClientError::from(write.expect_err("locked")).reason(), "LOCK_TIMEOUT");
    }
    scene.cluster.release(&scene.name, lock);
    scene.until_written().await;
}

/// A writer that gets no connection is refused with the reason of those that have one and wait for the lock.
#[tokio::test(flavor = "multi_thread")]
async fn more_writers_than_connections_wait_for_one_namespace() {
    let scene = PostgresScene::start(&[]).await;
    scene.until_written().await;
    let lock = scene.cluster.hold(&scene.name, "default");
    let mut writes = tokio::task::JoinSet::new();
    for _ in 0..TOO_MANY_WRITERS {
        let mut bare = raw(&scene.hub).await;
        writes.spawn(async move { bare.draft(draft_request("q", "a: 2")).await });
    }
    let refused = writes
        .join_all()
        .await
        .into_iter()
        .map(|write| ClientError::from(write.expect_err("locked")).reason().to_owned());
    assert_eq!(refused.collect::<Vec<_>>(), ["LOCK_TIMEOUT"; TOO_MANY_WRITERS]);
    scene.cluster.release(&scene.name, lock);
    scene.until_written().await;
}

/// The reason is reported to every caller, also to those before the server knows the cause.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_calls_hear_the_reason_too() {
    let scene = PostgresScene::start(&[]).await;
    let database = |is_allowed: bool| format!("ALTER DATABASE {} ALLOW_CONNECTIONS {is_allowed}", scene.name);
    let role = |change: &str| format!("ALTER ROLE {ROLE} {change}");
    for (broken, healed) in [(role("NOLOGIN"), role("LOGIN")), (database(false), database(true))] {
        scene.until_written().await;
        scene.cluster.psql("postgres", &broken);
        scene.end_connections();
        let mut writes = tokio::task::JoinSet::new();
        for _ in 0..FIRST_CALLS {
            let mut bare = raw(&scene.hub).await;
            writes.spawn(async move { bare.draft(draft_request("q", "a: 2")).await });
            // Some of them while it looks for the cause, and some after it knows.
            scene.cluster.psql("postgres", "SELECT 1");
        }
        for write in writes.join_all().await {
            let error = ClientError::from(write.expect_err("no connection"));
            assert_eq!(error.reason(), "DATABASE_ACCESS_DENIED", "{broken}: {error:?}");
        }
        scene.cluster.psql("postgres", &healed);
    }
    scene.until_written().await;
}

/// Breaks something, checks the reason, and checks that the server recovers.
async fn named(scene: &PostgresScene, reason: &str, ready: &str, broken: impl Fn(), healed: impl Fn()) {
    scene.until_written().await;
    broken();
    scene.until_refused(reason).await;
    told_on_the_command_line(scene, reason);
    scene.until_readyz(ready).await;
    healed();
    scene.until_written().await;
    scene.until_readyz("ok\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_and_rights_of_the_role() {
    let scene = PostgresScene::start(&[]).await;
    let role = |change: &str| {
        scene.cluster.psql("postgres", &format!("ALTER ROLE {ROLE} {change}"));
        scene.end_connections();
    };
    named(
        &scene,
        "DATABASE_CONNECTION_LIMIT",
        "takes no further connection",
        || role("CONNECTION LIMIT 0"),
        || role("CONNECTION LIMIT -1"),
    )
    .await;
    named(&scene, "DATABASE_ACCESS_DENIED", "does not let the server's role in", || role("NOLOGIN"), || role("LOGIN"))
        .await;
    named(
        &scene,
        "DATABASE_READ_ONLY",
        "read-only",
        || role("SET default_transaction_read_only = on"),
        // Open connections keep the setting they began with, so the server must open new ones.
        || drop(scene.sql(&format!("ALTER ROLE {ROLE} RESET default_transaction_read_only"))),
    )
    .await;
    named(
        &scene,
        "DATABASE_ACCESS_DENIED",
        "lacks a right",
        || drop(scene.sql(&format!("REVOKE INSERT ON events FROM {ROLE}"))),
        || drop(scene.sql(&format!("GRANT INSERT ON events TO {ROLE}"))),
    )
    .await;
}

/// Given a missing privilege that the manual lists, `/readyz` reports it, also where no write needs it.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing() {
    let scene = PostgresScene::start(&[]).await;
    for right in ["SELECT ON policies", "UPDATE ON policies", "INSERT ON contents", "SELECT ON events"] {
        scene.until_written().await;
        scene.sql(&format!("REVOKE {right} FROM {ROLE}"));
        assert_eq!(scene.write().await.expect_err("no right").reason(), "DATABASE_ACCESS_DENIED", "{right}");
        scene.until_readyz("the server's role lacks a right in the database").await;
        scene.sql(&format!("GRANT {right} TO {ROLE}"));
        scene.until_readyz("ok\n").await;
    }
    scene.sql(&format!("REVOKE DELETE ON runs FROM {ROLE}"));
    scene.until_readyz("lacks a right in the database, what needs it fails: DELETE on runs").await;
    scene.until_written().await;
}

/// Given a search path without the tables, new connections do not find them.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_path_that_hides_the_tables() {
    let scene = PostgresScene::start(&[]).await;
    let role = |change: &str| {
        scene.cluster.psql("postgres", &format!("ALTER ROLE {ROLE} {change}"));
        scene.end_connections();
    };
    named(
        &scene,
        "DATABASE_ACCESS_DENIED",
        "search_path hides them",
        || role("SET search_path = nowhere"),
        || role("RESET search_path"),
    )
    .await;
}

/// Given a database that accepts no connections, not even those of a superuser.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_takes_no_connections() {
    let scene = PostgresScene::start(&[]).await;
    let allow = |is_allowed: bool| {
        let change = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {is_allowed}", scene.name);
        scene.cluster.psql("postgres", &change);
        scene.end_connections();
    };
    named(&scene, "DATABASE_ACCESS_DENIED", "takes no connections", || allow(false), || allow(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_wrong_and_a_database_that_is_gone() {
    let scene = PostgresScene::start(&[]).await;
    let rules = scene.data.join("pg_hba.conf");
    let before = fs::read_to_string(&rules).expect("pg_hba.conf");
    let write_rules = |text: &str| {
        fs::write(&rules, text).expect("pg_hba.conf");
        scene.cluster.psql("postgres", "SELECT pg_reload_conf()");
        scene.end_connections();
    };
    named(
        &scene,
        "DATABASE_ACCESS_DENIED",
        "does not take the password",
        || write_rules(&format!("host all {ROLE} 127.0.0.1/32 scram-sha-256\n{before}")),
        || write_rules(&before),
    )
    .await;
    let rename = |from: &str, to: &str| {
        // Renaming is refused as long as somebody is connected, so nobody may connect between the end of the last connection and the new
        // name.
        let sql = |statement: String| scene.cluster.psql("postgres", &statement);
        sql(format!("ALTER DATABASE {from} ALLOW_CONNECTIONS false"));
        scene.end_connections();
        sql(format!("ALTER DATABASE {from} RENAME TO {to}"));
        sql(format!("ALTER DATABASE {to} ALLOW_CONNECTIONS true"));
    };
    named(
        &scene,
        "DATABASE_ACCESS_DENIED",
        "does not exist",
        || rename(&scene.name, "elsewhere"),
        || rename("elsewhere", &scene.name),
    )
    .await;
}

/// An existing store needs no write to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_while_the_database_is_read_only() {
    let mut scene = PostgresScene::start(&[]).await;
    scene.sql(&format!("ALTER ROLE {ROLE} SET default_transaction_read_only = on"));
    scene.hub = scene.hub.restart_in_order().await;
    scene.client = scene.hub.client().await;
    scene.until_readyz("read-only").await;
    assert_eq!(active(&scene.client, "p").await, 1, "what it has is served");
    assert_eq!(scene.write().await.expect_err("no write").reason(), "DATABASE_READ_ONLY");
    scene.sql(&format!("ALTER ROLE {ROLE} RESET default_transaction_read_only"));
    scene.until_written().await;
    scene.until_readyz("ok\n").await;
}
