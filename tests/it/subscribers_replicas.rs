//! Subscribers are online as long as the server that holds their streams renews its one lease, and whatever the database lost of it is
//! written again.

use crate::harness::calls::release;
use crate::harness::subscribing::{eventually, subscribe, subscriber, subscribers};
use crate::harness::watching::LIVELY;
use crate::harness::{Hub, on_both_databases};
use crate::watch_many::two_servers;

/// The rows of subscribers whose leases last as long as that of their server.
const OPEN: &str = "lease_end_time = 9223372036854775807";

/// Returns the number of rows of subscribers that match.
fn rows(hub: &Hub, condition: &str) -> String {
    hub.tamper(&format!("SELECT count(*) FROM subscribers WHERE {condition}"))
}

/// Returns one number of the database.
fn number(hub: &Hub, sql: &str) -> i64 {
    hub.tamper(sql).parse().expect("a number")
}

on_both_databases! {
    with LIVELY;

    /// Given a server that another one took for dead, its subscribers are online again, because their streams are open.
    async fn a_server_that_was_taken_for_dead_announces_its_subscribers_again(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let (_one, _other) = (subscribe(&client, "one").await, subscribe(&client, "other").await);
        assert!(subscriber(&client, "one").await.online && subscriber(&client, "other").await.online);
        hub.tamper("UPDATE subscribers SET lease_end_time = 0");
        hub.tamper("DELETE FROM replicas");
        eventually("its rows are as before", async || rows(&hub, OPEN) == "2").await;
        let listed = subscribers(&client).await;
        assert!(listed.values().all(|each| each.online), "{listed:?}");
    }

    /// Given a replica of the former release, which shortens every lease that is longer than its own would be, nobody is offline.
    async fn a_replica_of_the_former_release_takes_nobody_offline(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let _stream = subscribe(&client, "s").await;
        assert!(subscriber(&client, "s").await.online);
        let now = "(SELECT max(renew_time) FROM replicas)";
        hub.tamper(&format!("UPDATE subscribers SET lease_end_time = {now} + 30000000 WHERE {OPEN}"));
        eventually("it is written again", async || {
            assert!(subscriber(&client, "s").await.online, "its stream never closed");
            rows(&hub, OPEN) == "1"
        })
        .await;
    }

    /// Given a row that says that a stream is open which ended, as in a database that was set back, the subscriber is offline.
    async fn a_lease_without_a_stream_is_ended(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let _stays = subscribe(&client, "stays").await;
        let left = subscribe(&client, "left").await;
        assert!(subscriber(&client, "left").await.online);
        drop(left);
        eventually("it is offline", async || !subscriber(&client, "left").await.online).await;
        hub.tamper("UPDATE subscribers SET lease_end_time = 9223372036854775807 WHERE id = 'left'");
        eventually("it is offline again", async || rows(&hub, OPEN) == "1").await;
        assert!(!subscriber(&client, "left").await.online && subscriber(&client, "stays").await.online);
    }
}

/// Given a server that was killed, its subscribers are offline once its lease has ended, for every reader at once, and were last seen when it
/// was renewed last; another server then ends their leases.
#[tokio::test]
async fn the_lease_of_a_killed_server_ends_those_of_its_subscribers() {
    let (one, other, _keys) = two_servers().await;
    let here = one.client().await;
    release(&here, "p", "a: 1").await;
    let _here = subscribe(&here, "here").await;
    let _there = subscribe(&other.client().await, "there").await;
    eventually("both are written", async || rows(&one, OPEN) == "2").await;
    let mut other = other;
    other.kill().await;
    assert!(subscriber(&here, "there").await.online, "its lease holds");
    let of_it = "id = (SELECT holder FROM subscribers WHERE id = 'there')";
    let renewed = number(&one, &format!("SELECT renew_time FROM replicas WHERE {of_it}")) - 30_000_000;
    one.tamper(&format!("UPDATE subscribers SET last_seen_time = {renewed} - 1 WHERE id = 'there'"));
    one.tamper(&format!("UPDATE replicas SET renew_time = {renewed} WHERE {of_it}"));
    let gone = subscriber(&here, "there").await;
    let seen = gone.last_seen_time.expect("a time");
    assert!(!gone.online && subscriber(&here, "here").await.online);
    assert_eq!(seen.seconds * 1_000_000 + i64::from(seen.nanos) / 1_000, renewed);
    eventually("its row is ended", async || rows(&one, "id = 'there' AND lease_end_time = 0") == "1").await;
    assert_eq!(number(&one, "SELECT last_seen_time FROM subscribers WHERE id = 'there'"), renewed);
    eventually("it is forgotten", async || number(&one, "SELECT count(*) FROM replicas") == 1).await;
    assert!(subscriber(&here, "here").await.online);
}

/// Given two streams of one id at two servers, the id is online for as long as one of them is open.
#[tokio::test]
async fn an_id_with_streams_at_two_servers_stays_online_with_either() {
    let (one, other, _keys) = two_servers().await;
    let (here, there) = (one.client().await, other.client().await);
    release(&here, "p", "a: 1").await;
    let _older = subscribe(&here, "s").await;
    assert!(subscriber(&here, "s").await.online);
    let holder = |hub: &Hub| hub.tamper("SELECT holder FROM subscribers WHERE id = 's'");
    let first = holder(&one);
    let newer = subscribe(&there, "s").await;
    eventually("the newer one holds it", async || holder(&one) != first).await;
    drop(newer);
    eventually("the older one holds it again", async || {
        assert!(subscriber(&here, "s").await.online, "its stream is open here, whatever the row says");
        holder(&one) == first && rows(&one, OPEN) == "1"
    })
    .await;
    assert!(subscriber(&here, "s").await.online);
}
