//! Acknowledged means durable (docs/guarantees.md#g1), whatever happens to a PostgreSQL's settings while a server runs.

use policyhub::client::{SetChange, pb};

use crate::harness::calls::{draft_request, policy, version};
use crate::harness::postgres_scene::{PostgresScene, ROLE};
use crate::harness::watching;

/// Number of drafts that are acknowledged before the crash.
const DRAFTS: usize = 3;

/// Settings with which the WAL stays in memory for long unless a commit flushes it.
const LAZY: &[(&str, &str)] = &[("wal_writer_delay", "10000"), ("wal_writer_flush_after", "0")];

/// Checks that what was acknowledged since `change` is there after PostgreSQL was killed.
async fn survives(change: impl Fn(&PostgresScene)) {
    let scene = PostgresScene::start(LAZY).await;
    scene.until_written().await;
    change(&scene);
    let mut acknowledged = Vec::new();
    while acknowledged.len() < DRAFTS {
        if let Ok(version) = scene.write().await {
            acknowledged.push(version);
        }
    }
    scene.cluster.kill(&scene.data);
    scene.cluster.start_again(&scene.data);
    scene.until_written().await;
    for number in acknowledged {
        let request = pb::GetVersionRequest { name: version("q", number), ..Default::default() };
        scene.client.get_version(request).await.unwrap_or_else(|error| panic!("version {number} is lost: {error:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_default_is_to_commit_asynchronously() {
    survives(|scene| {
        scene.sql(&format!("ALTER ROLE {ROLE} SET synchronous_commit = off"));
        scene.end_connections();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_default_is_to_commit_asynchronously() {
    survives(|scene| {
        scene.sql(&format!("ALTER DATABASE {} SET synchronous_commit = off", scene.name));
        scene.end_connections();
    })
    .await;
}

/// Open connections follow a reload, unless the session set the parameter itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_commits_asynchronously_from_now_on() {
    survives(|scene| scene.configure("synchronous_commit", "off")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_does_not_flush() {
    let scene = PostgresScene::start(&[]).await;
    let mut watch = watching::open(&scene.client).await;
    watching::change(&mut watch).await;
    for setting in ["fsync", "full_page_writes"] {
        scene.configure(setting, "off");
        let error = scene.until_refused("DATABASE_NOT_DURABLE").await;
        assert!(error.message().contains(&format!("{setting} is off")), "{error:?}");
        scene.until_readyz(&format!("{setting} is off")).await;
        // Reads are not affected.
        scene.client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await.expect("a read");
        assert!(matches!(watching::next(&mut watch).await.1, SetChange::Alive { .. }), "the watch goes on");
        for _ in 0..DRAFTS {
            assert_eq!(scene.write().await.expect_err("no write").reason(), "DATABASE_NOT_DURABLE");
        }
        scene.configure(setting, "on");
        scene.until_written().await;
        scene.until_readyz("ok\n").await;
    }
}

/// Given a transaction that is open during the change, it is not acknowledged either: its COMMIT was not flushed.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_stops_flushing_under_an_open_transaction() {
    let scene = PostgresScene::start(&[]).await;
    let refused = loop {
        scene.until_written().await;
        // The transaction holds its namespace and waits for the table of its first INSERT.
        let lock = scene.cluster.hold_by(&scene.name, "LOCK TABLE versions IN SHARE MODE");
        let client = scene.client.clone();
        let write = tokio::spawn(async move { client.draft(draft_request("q", "a: 3")).await });
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'versions'::regclass";
        while scene.sql(waiting) != "1" && !write.is_finished() {}
        scene.configure("fsync", "off");
        scene.cluster.release(&scene.name, lock);
        match write.await.expect("a task").expect_err("acknowledged, and not flushed") {
            // It waited too long for the table: try again.
            error if error.reason() == "LOCK_TIMEOUT" => scene.configure("fsync", "on"),
            error => break error,
        }
    };
    assert!(["OUTCOME_UNKNOWN", "DATABASE_NOT_DURABLE"].contains(&refused.reason()), "{refused:?}");
    scene.until_readyz("fsync is off").await;
    scene.configure("fsync", "on");
    scene.until_written().await;
}
