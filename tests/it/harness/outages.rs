//! What an outage of the database means for a server with a watch, with either database.
//!
//! Invariant: nothing here sleeps for a fixed time; the deadline only ends a test that would wait for ever.

use std::time::Duration;

use policyhub::client::Watch;
use policyhub::client::{Client, SetChange};
use tonic::Code;

use super::Hub;
use super::calls::{activate, draft, publish, try_activate};
use super::http::{get, metric};
use super::watching::{self, DEADLINE};

/// A write that takes longer during an outage counts as hanging. The promise is 3 s, which a loaded machine can miss; before there was a
/// promise, it took 21 s and more.
pub const WRITE_FAILS_WITHIN: Duration = Duration::from_secs(15);

const DATABASE_UP: &str = "policyhub_database_up";
/// The number of heartbeats that show a watch to be alive. More than one may have been in flight before.
const HEARTBEATS: usize = 3;

/// Polls until the condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    assert!(waited.is_ok(), "not before the deadline: {what}");
}

/// Returns the status and body of `/readyz`.
pub fn readyz(hub: &Hub) -> (u16, String) {
    let (status, _, body) = get(&hub.http, "/readyz").expect("an answer");
    (status, body)
}

/// Waits until the server is ready and reports nothing else.
pub async fn until_ready(hub: &Hub) {
    until("ready again", || {
        get(&hub.http, "/readyz").is_ok_and(|(status, _, body)| (status, body.as_str()) == (200, "ok\n"))
    })
    .await;
}

/// Waits until the server reports its database as up or down.
pub async fn until_database_up(hub: &Hub, is_up: bool) {
    let expected = if is_up { 1.0 } else { 0.0 };
    until("the metric", || metric(&hub.http, DATABASE_UP) == Some(expected)).await;
}

/// Puts `p@1` in force, beside a `p@2` to activate and a policy `q` to draft; opens a watch that is caught up.
pub async fn prepare(client: &Client) -> Watch {
    publish(client, "p", "a: 1").await;
    publish(client, "p", "a: 2").await;
    activate(client, "p", 1).await;
    draft(client, "q", "a: 1").await;
    let mut watch = watching::open(client).await;
    watching::change(&mut watch).await;
    watch
}

/// Checks what must hold during an outage: the watch still receives heartbeats, and the process runs.
pub async fn check_alive(hub: &Hub, watch: &mut Watch) {
    for _ in 0..HEARTBEATS {
        assert!(matches!(watching::next(watch).await.1, SetChange::Alive { .. }));
    }
    assert_eq!(get(&hub.http, "/livez").expect("it lives").0, 200);
}

/// Checks what must recover by itself after an outage: `p@2` can be activated and reaches the watch, and the server is ready.
pub async fn check_recovered(hub: &Hub, client: &Client, watch: &mut Watch) {
    let activated = async {
        while let Err(error) = try_activate(client, "p", 2, None).await {
            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, activated).await.expect("writes before the deadline");
    assert_eq!(watching::activation(watch).await.1, ["p@2"]);
    until_database_up(hub, true).await;
    until_ready(hub).await;
}
