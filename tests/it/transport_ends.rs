//! How a connection ends in order: at its maximum age, and at shutdown. Compared with tonic's server.

use std::time::Duration;

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{SetChange, pb};
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use crate::harness::calls::{active, release};
use crate::harness::frames::{ACK, DATA, EMPTY_MESSAGE, GOAWAY, HEADERS, NO_ERROR, PING, Peer, SETTINGS};
use crate::harness::metrics;
use crate::harness::plain_server;
use crate::harness::watching::{self, DEADLINE};
use crate::harness::{Database, Hub, on_both_databases};

const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const AGED: &[&str] = &["--max-connection-age-ms", "500"];

on_both_databases! {
    with AGED;

    /// Given an old connection, streams are asked to reconnect, one GOAWAY is sent, and the caller continues on another connection.
    async fn an_old_connection_is_ended_in_order(hub: Hub) {
        let client = hub.client().await;
        let mut watch = watching::open(&client).await;
        let reason = loop {
            match watching::change(&mut watch).await {
                SetChange::Reconnect { reason, backoff } => {
                    assert!(backoff < Duration::from_millis(10), "the server takes it itself, at once: {backoff:?}");
                    break reason;
                }
                SetChange::Alive { .. } | SetChange::SnapshotPart { .. } | SetChange::Replaced { .. } => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reason, "age");
        assert!(watch.next().await.expect("an end in order").is_none(), "reconnect is the last message");
        release(&hub.client().await, "p", "a: 1").await;
        assert_eq!(active(&hub.client().await, "p").await, 1);
        let text = metrics::text(&hub);
        assert!(!text.contains(r#"cause="protocol""#), "a connection broke: {text}");
    }
}

/// Returns the frames of a connection until its end; answers pings and settings.
async fn to_the_end(peer: &mut Peer) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some(frame) = peer.next().await {
        kinds.push(frame.kind);
        match frame.kind {
            PING if frame.flags & ACK == 0 => drop(peer.send(PING, ACK, 0, &frame.payload).await),
            SETTINGS if frame.flags & ACK == 0 => drop(peer.send(SETTINGS, ACK, 0, &[]).await),
            GOAWAY => assert_eq!(frame.number(4), NO_ERROR),
            _ => {}
        }
    }
    kinds
}

#[tokio::test]
async fn an_old_connection_says_goodbye_first() {
    let hub = Hub::start_with(Database::Sqlite, AGED).await;
    let mut idle = Peer::connect(&hub.grpc).await;
    assert!(to_the_end(&mut idle).await.contains(&GOAWAY));
    // A stream that does not end, and a client that answers nothing: they get GOAWAY and are closed after the grace period.
    let mut endless = Peer::connect(&hub.grpc).await;
    endless.call(1, HEALTH_WATCH, None, &EMPTY_MESSAGE).await;
    let frames = endless.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="age"} 2"#).await;

    let mut peer = Peer::connect(&plain_server::server().await.to_string()).await;
    assert!(peer.is_open_after(Duration::from_secs(3)).await, "tonic's connections live for ever by default");
    let aged = |server: tonic::transport::Server| {
        let age = Duration::from_millis(200);
        server.max_connection_age(age).max_connection_age_grace(age)
    };
    let (address, _) = plain_server::serve(aged, CancellationToken::new()).await;
    let mut peer = Peer::connect(&address.to_string()).await;
    peer.call(1, HEALTH_WATCH, None, &EMPTY_MESSAGE).await;
    let frames = peer.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == HEADERS), "it was served");
    assert!(frames.iter().all(|frame| frame.kind != GOAWAY), "with an age and a grace tonic cuts without a word");
}

/// Returns the messages of a stream: each is a flag of one byte, a length of four bytes, and the payload (gRPC over HTTP/2).
fn send(mut data: Vec<u8>) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(length) = data.get(1..5) {
        let end = 5 + u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        let message = pb::WatchActiveResponse::decode(&data[5..end]).expect("a message");
        messages.extend(message.message);
        data.drain(..end);
    }
    messages
}

/// Given a client that keeps sending and reads late, it still gets the server's last messages.
#[tokio::test]
async fn who_did_not_listen_can_still_read_the_last_words() {
    let mut hub = Hub::start_with(Database::Sqlite, &["--drain-timeout-ms", "500"]).await;
    let mut peer = Peer::connect(&hub.grpc).await;
    let parent = b"namespaces/default";
    let message = [&[0, 0, 0, 0, 22, 0x0a, 20, 0x0a, 18], parent.as_slice()].concat();
    peer.call(1, "/policyhub.v1.SyncService/WatchActive", Some(&hub.token()), &message).await;
    assert!(peer.until(DATA).await.is_some(), "it watches");
    hub.signal("TERM");
    let mut talking = true;
    let ended = async {
        loop {
            tokio::select! {
                status = hub.ended() => break status,
                () = tokio::time::sleep(Duration::from_millis(1)) => {
                    talking = talking && peer.send(PING, 0, 0, b"and then").await;
                }
            }
        }
    };
    assert_eq!(tokio::time::timeout(DEADLINE, ended).await.expect("it ends").code(), Some(0));
    let frames = peer.rest().await;
    let data = frames.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| frame.payload.clone()).collect();
    let received = send(data)
        .into_iter()
        .any(|message| matches!(message, Message::Reconnect(last) if last.reason() == pb::ReconnectReason::Draining));
    assert!(received, "{} frames without a reconnect", frames.len());
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
}

/// Watches that are read end by themselves, well before the deadline.
#[tokio::test]
async fn open_watches_do_not_hold_the_end_up() {
    let mut hub = Hub::start_with(Database::Sqlite, &["--drain-timeout-ms", "22000"]).await;
    let client = hub.client().await;
    let mut watches = Vec::new();
    for _ in 0..20 {
        watches.push(watching::open(&client).await);
    }
    for watch in &mut watches {
        watching::change(watch).await;
    }
    hub.signal("TERM");
    for watch in &mut watches {
        assert!(matches!(watching::change(watch).await, SetChange::Reconnect { .. }));
        assert!(watch.next().await.expect("an end in order").is_none());
    }
    assert_eq!(tokio::time::timeout(DEADLINE, hub.ended()).await.expect("it ends").code(), Some(0));
    assert!(!hub.log.lock().expect("the log").contains("did not end in time"), "it waited for the deadline");

    let stopped = CancellationToken::new();
    let (address, mut ended) = plain_server::serve(|server| server, stopped.clone()).await;
    let mut peer = Peer::connect(&address.to_string()).await;
    peer.call(1, HEALTH_WATCH, None, &EMPTY_MESSAGE).await;
    assert!(peer.until(HEADERS).await.is_some());
    stopped.cancel();
    let wait = async { tokio::join!(to_the_end(&mut peer), &mut ended) };
    assert!(tokio::time::timeout(Duration::from_secs(2), wait).await.is_err(), "tonic waits for its streams");
}
