//! What an outage of the database means for a server with a watch, whichever database it is.
//!
//! Invariant: nothing here waits for a time to pass; the deadline only ends a test that would wait for ever.

use std::time::Duration;

use policyhub::client::Watch;
use policyhub::client::{Client, SetChange};
use tonic::Code;

use super::Hub;
use super::calls::{activate, draft, publish, try_activate};
use super::http::{get, metric};
use super::watching::{self, DEADLINE};

/// A write that takes longer during an outage hangs. It is promised within 3 s, which a loaded machine has no right to expect;
/// before there was a promise it took 21 s and more.
pub const WRITE_FAILS_WITHIN: Duration = Duration::from_secs(15);

const DATABASE_UP: &str = "policyhub_database_up";
/// Heartbeats that show a watch to be alive: more than one may have been on its way.
const HEARTBEATS: usize = 3;

/// Looks again and again until something holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, wait).await;
    assert!(waited.is_ok(), "not before the deadline: {what}");
}

/// Status and body of `/readyz`.
pub fn readyz(hub: &Hub) -> (u16, String) {
    let (status, _, body) = get(&hub.http, "/readyz").expect("an answer");
    (status, body)
}

/// Waits until the server is ready and says nothing else.
pub async fn until_ready(hub: &Hub) {
    until("ready again", || {
        get(&hub.http, "/readyz").is_ok_and(|(status, _, body)| (status, body.as_str()) == (200, "ok\n"))
    })
    .await;
}

/// Waits until the server says whether its database answers.
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

/// What must hold during an outage: the watch goes on with heartbeats, and the process lives.
pub async fn check_alive(hub: &Hub, watch: &mut Watch) {
    for _ in 0..HEARTBEATS {
        assert!(matches!(watching::next(watch).await.1, SetChange::Alive { .. }));
    }
    assert_eq!(get(&hub.http, "/livez").expect("it lives").0, 200);
}

/// What must come back by itself after an outage: `p@2` can be activated and reaches the watch, and the server is ready.
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
