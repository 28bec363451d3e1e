//! The testing hub before the SDK as it is: what the SDK verifies is as the real server signs it.
//!
//! Each test waits for what must come, and fails when it does not come in time. Only a silence is shown by letting time pass.

#![expect(clippy::expect_used, reason = "all of it is a test: to stop with a message is what it is for")]

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use policyhub_client::internal::name::PolicyId;
use policyhub_client::internal::{
    Active, ActiveSetOptions, Cursor, Keys, State, Status, Target, Update, View, Watcher, WatcherOptions, pb, signing,
};
use policyhub_client::testing::TestHub;

#[path = "testing_hub/calls.rs"]
mod calls;
#[path = "testing_hub/faults.rs"]
mod faults;
#[path = "testing_hub/streams.rs"]
mod streams;

/// Longest wait for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

async fn in_time<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, awaited).await.unwrap_or_else(|_| unreachable!("{what} did not come in time"))
}

/// Returns a hub whose streams show often that they live, so that no test waits for a heartbeat for long.
async fn hub() -> TestHub {
    TestHub::builder().heartbeat_interval(Duration::from_millis(20)).start().await.expect("a hub")
}

fn options(hub: &TestHub, subscriber_id: &str) -> WatcherOptions {
    WatcherOptions {
        source: Target::new(hub.endpoint()).into(),
        namespace: hub.namespace(),
        keys: Keys::Pinned(hub.keys()),
        set: ActiveSetOptions::default(),
        every_activation: false,
        subscriber_id: subscriber_id.to_owned(),
        attributes: Default::default(),
        directory: None,
    }
}

fn watcher(hub: &TestHub) -> Watcher {
    Watcher::open(options(hub, "shop-1")).expect("a watcher")
}

fn policies(ids: &[&str]) -> BTreeSet<PolicyId> {
    ids.iter().map(|id| PolicyId::parse("policy", id).expect("an id")).collect()
}

async fn offered(watcher: &mut Watcher) -> Update {
    in_time("a set", watcher.next()).await
}

/// Lets the watcher work until its status is as wanted. Nothing may be offered meanwhile.
async fn works_until(watcher: &mut Watcher, is_wanted: impl Fn(&Status) -> bool) {
    let view = watcher.view();
    let reached = watcher.drive(until(view.clone(), is_wanted));
    let reached = tokio::time::timeout(DEADLINE, reached).await;
    assert!(reached.is_ok(), "the status stays {:?}", view.status());
}

async fn until(mut view: View, is_wanted: impl Fn(&Status) -> bool) {
    while !is_wanted(&view.status()) {
        assert!(view.changed().await, "the watcher is gone");
    }
}

/// Nothing was refused: neither by the runtime nor by the SDK, which mends itself by another stream and would hide it.
fn assert_nothing_refused(hub: &TestHub) {
    let reports = hub.reports();
    assert!(!reports.is_empty() && reports.iter().all(|report| report.is_applied()), "{reports:?}");
}

/// Returns each policy with its version and its content.
fn shown(active: &Active) -> Vec<(&str, i64, &str)> {
    active
        .policies
        .iter()
        .map(|(id, policy)| {
            let content = policy.content.as_deref().and_then(|content| std::str::from_utf8(content).ok());
            (id.as_str(), policy.version, content.unwrap_or_default())
        })
        .collect()
}

#[tokio::test]
async fn ten_lines_are_a_hub_and_a_watcher_of_it() {
    let hub = TestHub::start().await.expect("a hub");
    let cursor = hub.activate([("pricing", "max: 1")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    let update = offered(&mut watcher).await;
    assert_eq!(shown(&update.active), [("pricing", 1, "max: 1")]);
    assert_eq!((update.active.cursor, hub.cursor()), (cursor, cursor));
    watcher.accept().await;
    let status = watcher.view().status();
    assert_eq!((status.state, status.in_force), (State::Ready, Some(cursor)), "{status:?}");
    let report = in_time("a report", hub.wait_for_report(|report| report.cursor == cursor)).await;
    assert!(report.is_applied() && report.subscriber_id == "shop-1", "{report:?}");
    assert_eq!(hub.reports(), [report]);
}

#[tokio::test]
async fn the_newest_set_wins_over_those_that_the_runtime_did_not_take() {
    let hub = hub().await;
    hub.activate([("a", "1")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 1, "1")]);
    let mut newest = Cursor::NONE;
    for content in ["2", "3", "4"] {
        newest = hub.activate([("a", content)]).await.expect("activated");
    }
    works_until(&mut watcher, |status| status.newest == Some(newest)).await;
    watcher.accept().await;
    assert_eq!(watcher.view().status().state, State::Behind);
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 4, "4")]);
    watcher.accept().await;
    assert_eq!(watcher.view().status().state, State::Ready);
    assert_nothing_refused(&hub);
}

#[tokio::test]
async fn what_the_runtime_rejects_is_reported_with_its_reason() {
    let hub = hub().await;
    let good = hub.activate([("a", "1")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    offered(&mut watcher).await;
    watcher.accept().await;
    let bad = hub.activate([("a", "2")]).await.expect("activated");
    offered(&mut watcher).await;
    watcher.reject("2 is too much").await;
    let report = in_time("a rejection", hub.wait_for_report(|report| report.rejection().is_some())).await;
    assert_eq!((report.cursor, report.rejection()), (bad, Some("2 is too much")));
    let applied: Vec<Cursor> = hub.reports().iter().filter(|report| report.is_applied()).map(|it| it.cursor).collect();
    assert_eq!(applied, [good], "nothing but the first one was applied");
    assert_eq!(shown(&watcher.view().active().expect("in force")), [("a", 1, "1")]);
    assert_eq!(hub.in_namespace("tenant-b").expect("a namespace").reports(), [], "another namespace hears of none");
}

#[tokio::test]
async fn a_policy_that_is_deactivated_is_not_in_the_next_set() {
    let hub = hub().await;
    hub.activate([("a", "1"), ("b", "1"), ("c", "1")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    assert_eq!(offered(&mut watcher).await.active.policies.len(), 3);
    watcher.accept().await;
    hub.deactivate(&["a", "c"]).await.expect("deactivated");
    assert_eq!(shown(&offered(&mut watcher).await.active), [("b", 1, "1")]);
    watcher.accept().await;
    hub.deactivate(&["b"]).await.expect("deactivated");
    assert_eq!(shown(&offered(&mut watcher).await.active), []);
    watcher.accept().await;
    hub.activate([("a", "2")]).await.expect("activated");
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 2, "2")], "numbers go on");
    assert_nothing_refused(&hub);
}

#[tokio::test]
async fn a_rollback_is_an_older_version_at_a_new_revision() {
    let hub = hub().await;
    let first = hub.activate([("a", "1")]).await.expect("activated");
    let second = hub.activate([("a", "2")]).await.expect("activated");
    let mut watcher = watcher(&hub);
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 2, "2")]);
    watcher.accept().await;
    let back = hub.activate_version("a", 1).await.expect("rolled back");
    assert!(first < second && second < back, "{first:?} {second:?} {back:?}");
    let update = offered(&mut watcher).await;
    assert_eq!((shown(&update.active), update.active.cursor), (vec![("a", 1, "1")], back));
    assert_eq!(update.active.get("a").map(|policy| policy.activated), Some(back));
    watcher.accept().await;
    assert_eq!(kind(&hub).await, "ROLLBACK");
    hub.activate_version("a", 2).await.expect("rolled forward");
    assert_eq!(shown(&offered(&mut watcher).await.active), [("a", 2, "2")]);
    assert_eq!(kind(&hub).await, "ACTIVATE");
    assert_nothing_refused(&hub);
}

/// Returns the kind of the event that put the version of `a` in force, as signed.
async fn kind(hub: &TestHub) -> String {
    let client = Target::new(hub.endpoint()).connect().await.expect("a connection");
    let name = format!("{}/policies/a", hub.namespace().name());
    let active = client.get_active(pb::GetActiveRequest { name, ..Default::default() }).await.expect("active");
    signing::verify_statement(&active.statement, &hub.keys()).expect("signed").kind
}
