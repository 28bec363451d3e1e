//! Schedules with several replicas, and with servers that are killed between the time and the event: each run happens once.

use futures_util::future::join_all;
use policyhub::client::pb::EventKind::{Activate, Schedule, SuspendSchedule};
use policyhub::client::pb::ScheduleState::{Done, Suspended};
use policyhub::client::pb::{self};

use crate::epochs::{bumped, restore};
use crate::harness::calls::{NAMESPACE, activate, active, events, publish, release, rollback_request};
use crate::harness::http::metric;
use crate::harness::keys::replica_of;
use crate::harness::outages::until;
use crate::harness::postgres::Cluster;
use crate::harness::schedules::{ShiftableHub, create_schedule, kinds, once, until_state};
use crate::harness::watching::LIVELY;
use crate::harness::{Database, on_both_databases};

const HOUR: i64 = 3_600;
const RAN: &str = r#"policyhub_schedule_runs_total{result="ran"}"#;
const FAILED: &str = r#"policyhub_schedule_runs_total{result="failed"}"#;
const SUSPENDED: &str = r#"policyhub_schedule_runs_total{result="suspended"}"#;

/// Given several replicas that all find the same schedules due, each of them is carried out or suspended once.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_carry_out_each_schedule_once() {
    const SCHEDULES: usize = 12;
    let clocked = ShiftableHub::start(Database::Postgres, &[]).await;
    let keys = clocked.hub.data_dir().join("keys");
    let others = join_all((0..2).map(|_| replica_of(&clocked.hub, &keys, &[]))).await;
    let client = clocked.hub.client().await;
    for number in 0..SCHEDULES {
        let id = format!("p{number}");
        release(&client, &id, "a: 1").await;
        publish(&client, &id, "a: 2").await;
        create_schedule(&client, &id, "", vec![once(&[(&id, 2)], HOUR)]).await;
    }
    activate(&client, "p0", 1).await;
    clocked.shift(2 * HOUR);
    until_state(&client, "p0", Suspended).await;
    assert_eq!(kinds(&client, "p0").await, [Schedule, SuspendSchedule]);
    for number in 1..SCHEDULES {
        let id = format!("p{number}");
        until_state(&client, &id, Done).await;
        assert_eq!((kinds(&client, &id).await, active(&client, &id).await), (vec![Schedule, Activate], 2), "{id}");
    }
    let counted = |name: &str| -> f64 {
        let hubs = others.iter().chain([&clocked.hub]);
        hubs.map(|hub| metric(&hub.http, name).unwrap_or_default()).sum()
    };
    assert_eq!((counted(RAN), counted(SUSPENDED)), (11.0, 1.0), "by all replicas");
    let found = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
    assert!(found.as_ref().is_ok_and(|found| found.valid), "{found:?}");
}

/// Given a replica that is killed while it waits for the lock of the namespace, the next one carries the schedule out, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_before_the_event_leaves_the_run_to_the_next() {
    let mut clocked = ShiftableHub::start(Database::Postgres, &[]).await;
    let client = clocked.hub.client().await;
    release(&client, "p", "a: 1").await;
    publish(&client, "p", "a: 2").await;
    create_schedule(&client, "launch", "", vec![once(&[("p", 2)], HOUR)]).await;
    let cluster = Cluster::shared();
    let database = clocked.database_name();
    let lock = cluster.hold(&database, "default");
    clocked.shift(2 * HOUR);
    cluster.waiting(&database);
    clocked.hub.kill().await;
    cluster.release(&database, lock);
    let clocked = clocked.restart().await;
    let client = clocked.hub.client().await;
    until_state(&client, "launch", Done).await;
    assert_eq!((kinds(&client, "launch").await, active(&client, "p").await), (vec![Schedule, Activate], 2));
}

/// Given a namespace that is locked for longer than a write waits, a schedule is tried again until it can run, and never suspended.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_can_not_run_now_is_tried_again() {
    let clocked = ShiftableHub::start(Database::Postgres, &[]).await;
    let client = clocked.hub.client().await;
    release(&client, "p", "a: 1").await;
    publish(&client, "p", "a: 2").await;
    create_schedule(&client, "launch", "", vec![once(&[("p", 2)], HOUR)]).await;
    let (cluster, database) = (Cluster::shared(), clocked.database_name());
    let lock = cluster.hold(&database, "default");
    clocked.shift(2 * HOUR);
    until("it was tried", || metric(&clocked.hub.http, FAILED).is_some_and(|failed| failed >= 1.0)).await;
    cluster.release(&database, lock);
    until_state(&client, "launch", Done).await;
    assert_eq!((kinds(&client, "launch").await, active(&client, "p").await), (vec![Schedule, Activate], 2));
}

on_both_databases! {
    /// Given a server that is killed right when a schedule is due, wherever it is by then, the schedule is carried out once.
    async fn a_server_that_is_killed_when_a_schedule_is_due_loses_and_repeats_nothing(database: Database) {
        let mut clocked = ShiftableHub::start(database, &[]).await;
        for round in 1..=5 {
            let client = clocked.hub.client().await;
            let id = format!("p{round}");
            release(&client, &id, "a: 1").await;
            publish(&client, &id, "a: 2").await;
            create_schedule(&client, &id, "", vec![once(&[(&id, 2)], round * HOUR)]).await;
            clocked.shift(round * HOUR + 60);
            // Later in each round: by then it is anywhere between the time and the event, or beyond both.
            for _ in 1..round {
                active(&client, &id).await;
                events(&client, NAMESPACE, 0).await;
            }
            clocked = clocked.restart().await;
            let client = clocked.hub.client().await;
            until_state(&client, &id, Done).await;
            assert_eq!((kinds(&client, &id).await, active(&client, &id).await), (vec![Schedule, Activate], 2), "{round}");
        }
    }
}

/// Given a store that was restored from before a run, after which somebody rolled back, the schedule does not run again by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_of_a_restored_store_is_suspended() {
    let clocked = ShiftableHub::start(Database::Sqlite, LIVELY).await;
    let client = clocked.hub.client().await;
    release(&client, "p", "a: 1").await;
    publish(&client, "p", "a: 2").await;
    create_schedule(&client, "launch", "", vec![once(&[("p", 2)], HOUR)]).await;
    let (database, copy) = (clocked.hub.data_dir().join("policyhub.db"), clocked.hub.data_dir().join("backup.db"));
    clocked.hub.tamper(&format!("VACUUM INTO '{}'", copy.display()));
    clocked.shift(2 * HOUR);
    until_state(&client, "launch", Done).await;
    client.rollback(rollback_request("p", 1)).await.expect("a rollback");
    let mut clocked = clocked;
    clocked.hub.signal("TERM");
    assert!(clocked.hub.ended().await.success());
    restore(&copy, &database);
    let clocked = clocked.restart().await;
    let client = clocked.hub.client().await;
    bumped(&clocked.hub, &["--accept-loss"], 2, 2).await;
    let found = until_state(&client, "launch", Suspended).await;
    assert!(found.problem.contains("the epoch is 2"), "{found:?}");
    assert_eq!(active(&client, "p").await, 1);
}
