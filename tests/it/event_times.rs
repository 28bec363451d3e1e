//! The time of an event is that of its commit: never before the previous event, whatever clocks do, and "active at T" is what was answered
//! at T (docs/lifecycle.md#rule-11, #rule-12).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use policyhub::client::{Client, ClientError, pb};

use crate::harness::calls::{
    NAMESPACE, activate, draft_request, events, policy, publish, refused_fields, try_activate,
};
use crate::harness::outages::until;
use crate::harness::{Database, Hub, clock, http, on_both_databases};

const HOUR: i64 = 3_600;

fn micros(time: prost_types::Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}

fn timestamp(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).expect("below a second");
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_micros()).expect("a time")
}

fn at(event: &pb::Event) -> pb::Cursor {
    event.cursor.expect("a place")
}

/// Returns the revision and time of every event, in the order of the log.
async fn times(client: &Client) -> Vec<(i64, i64)> {
    let log = events(client, NAMESPACE, 0).await;
    log.iter().map(|event| (at(event).revision, micros(event.time.expect("a time")))).collect()
}

async fn active_at(client: &Client, micros: i64) -> Result<i64, ClientError> {
    let at = Some(pb::get_active_request::At::Time(timestamp(micros)));
    let answer = client.get_active(pb::GetActiveRequest { name: policy("p"), at, ..Default::default() }).await?;
    let bundle = answer.bundle.expect("something active");
    Ok(bundle.version)
}

#[track_caller]
fn never_back(times: &[(i64, i64)]) {
    let back = times.windows(2).find(|pair| pair[1].1 < pair[0].1);
    assert_eq!(back, None, "time ran backwards");
}

on_both_databases! {
    /// Given concurrent writers, times have the order of revisions.
    async fn times_follow_revisions(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 0").await;
        for _ in 0..4 {
            let drafts = join_all((0..16).map(|number| client.draft(draft_request("p", &format!("b: {number}"))))).await;
            assert!(drafts.iter().all(Result::is_ok), "{drafts:?}");
        }
        never_back(&times(&client).await);
    }

    /// At the time of each activation its version is active, and a microsecond before it the previous one; a time in the future is refused.
    async fn a_time_names_what_was_active(hub: Hub) {
        let client = hub.client().await;
        let mut moved = Vec::new();
        for number in 1..=3 {
            publish(&client, "p", &format!("a: {number}")).await;
            moved.push(activate(&client, "p", number).await);
        }
        let times: Vec<i64> = times(&client).await.into_iter().filter(|(at, _)| moved.contains(at)).map(|(_, time)| time).collect();
        for (number, time) in (1..).zip(&times) {
            assert_eq!(active_at(&client, *time).await.expect("active"), number);
        }
        assert_eq!(active_at(&client, times[2] - 1).await.expect("active"), 2);
        let future = active_at(&client, now() + HOUR * 1_000_000).await;
        refused_fields(future, &["time"]);
        let at = Some(pb::list_active_request::At::Time(timestamp(now() + HOUR * 1_000_000)));
        let request = pb::ListActiveRequest { parent: NAMESPACE.to_owned(), at, ..Default::default() };
        refused_fields(client.list_active(request).await, &["time"]);
    }
}

/// Given an activation that waits for the lock, the version before is answered until it commits, and later the same is answered for that
/// time.
#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_waited_is_of_the_time_of_its_commit() {
    let hub = Hub::start_with(Database::Postgres, &[]).await;
    let client = hub.client().await;
    for number in 1..=2 {
        publish(&client, "p", &format!("a: {number}")).await;
    }
    activate(&client, "p", 1).await;
    let cluster = crate::harness::postgres::Cluster::shared();
    let database = hub.database_url.rsplit('/').next().expect("a name").split('?').next().expect("a name").to_owned();
    let lock = cluster.hold(&database, "default");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { try_activate(&client, "p", 2, None).await }
    });
    cluster.waiting(&database);
    let meanwhile = now();
    assert_eq!(active_at(&client, meanwhile).await.expect("active"), 1);
    cluster.release(&database, lock);
    waiting.await.expect("a task").expect("an activation");
    assert_eq!(active_at(&client, meanwhile).await.expect("active"), 1, "as it was answered then");
    assert_eq!(active_at(&client, now()).await.expect("active"), 2);
}

/// Given a clock that was an hour ahead and is corrected, events keep the last time until the clock reaches it, and this is reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_put_right_turns_no_time_back() {
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    clock::build(dir.path());
    let url = format!("sqlite://{}", dir.path().join("data/policyhub.db").display());
    let hub = Hub::start_on(dir, url, &[]).await;
    let client = hub.client().await;
    publish(&client, "p", "a: 1").await;
    publish(&client, "p", "a: 2").await;
    let ahead = || http::metric(&hub.http, "policyhub_log_ahead_seconds").unwrap_or_default();
    assert_eq!(ahead(), 0.0);
    clock::shift(hub.dir.path(), HOUR);
    activate(&client, "p", 1).await;
    assert_eq!(ahead(), 0.0, "by that clock it is not ahead");
    clock::shift(hub.dir.path(), 0);
    activate(&client, "p", 2).await;
    let times = times(&client).await;
    never_back(&times);
    let [.., (_, first), (_, second)] = times.as_slice() else { panic!("{times:?}") };
    assert_eq!(first, second, "the clock is not there yet");
    assert_eq!(active_at(&client, *second).await.expect("active"), 2, "the newest of that time");
    assert_eq!(active_at(&client, now()).await.expect_err("before it was activated").reason(), "NO_ACTIVE_VERSION");
    until("it is said", || (3_000.0..=3_600.0).contains(&ahead())).await;
}
