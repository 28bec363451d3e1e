//! Limits of one connection: streams, resets, headers, silence. Compared with the defaults of tonic's server.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::harness::calls::release;
use crate::harness::frames::{
    DATA, EMPTY_MESSAGE, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING, Peer, REFUSED_STREAM, RST_STREAM,
    WINDOW_MAX, WINDOW_UPDATE, WireFrame, headers,
};
use crate::harness::metrics::{self, counted};
use crate::harness::plain_server;
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub};

const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

#[tokio::test]
async fn the_settings_are_bounds() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut peer = Peer::connect(&hub.grpc).await;
    let settings = peer.settings().await.expect("settings");
    assert_eq!(settings.get(&MAX_CONCURRENT_STREAMS), Some(&128));
    assert_eq!(settings.get(&INITIAL_WINDOW_SIZE), Some(&(64 * 1024)));
    assert_eq!(settings.get(&MAX_HEADER_LIST_SIZE), Some(&(16 * 1024)));
    let window = peer.until(WINDOW_UPDATE).await.expect("the window of the connection");
    assert_eq!((window.stream, window.number(0) + 65_535), (0, 1024 * 1024));

    let settings = Peer::connect(&plain_server::server().await.to_string()).await.settings().await.expect("settings");
    assert_eq!(settings.get(&MAX_CONCURRENT_STREAMS), None, "tonic has no limit by default");
    assert_eq!(settings.get(&INITIAL_WINDOW_SIZE), Some(&(1024 * 1024)));
}

/// Opens `streams` watches at once and returns how many are answered; the others are refused.
async fn answered(address: &str, streams: u32) -> usize {
    let mut peer = Peer::connect(address).await;
    for stream in 0..streams {
        peer.call(stream * 2 + 1, HEALTH_WATCH, None, &EMPTY_MESSAGE).await;
    }
    // Count the first frame of each stream: the request's body also reaches a refused one.
    let (mut answered, mut refused) = (BTreeSet::new(), BTreeSet::new());
    while answered.len() + refused.len() < streams as usize {
        let frame = peer.next().await.expect("an answer to each");
        if frame.kind == HEADERS {
            answered.insert(frame.stream);
        } else if frame.kind == RST_STREAM && refused.insert(frame.stream) {
            assert_eq!(frame.number(0), REFUSED_STREAM);
        }
    }
    answered.len()
}

#[tokio::test]
async fn a_connection_carries_so_many_streams() {
    let hub = Hub::start(Database::Sqlite).await;
    assert_eq!(answered(&hub.grpc, 160).await, 128);
    assert_eq!(answered(&plain_server::server().await.to_string(), 1_000).await, 1_000, "tonic takes as many as come");
}

/// Makes the server reset this many streams (CVE-2025-8671), and returns whether it still serves; the error is the code of its GOAWAY.
async fn made_to_reset(address: &str, streams: u32) -> Result<(), u32> {
    let mut peer = Peer::connect(address).await;
    for stream in (0..streams).map(|stream| stream * 2 + 1) {
        peer.say(&headers(stream, HEALTH_WATCH, None, &[])).await;
        // This exceeds the largest window, which is an error of this stream only.
        peer.send(WINDOW_UPDATE, 0, stream, &WINDOW_MAX.to_be_bytes()).await;
    }
    peer.send(PING, 0, 0, b"are you?").await;
    loop {
        match peer.next().await.expect("a goodbye before the end") {
            frame if frame.kind == GOAWAY => return Err(frame.number(4)),
            frame if frame.kind == PING && frame.payload == b"are you?" => return Ok(()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection() {
    let hub = Hub::start(Database::Sqlite).await;
    assert_eq!(made_to_reset(&hub.grpc, 60).await, Ok(()), "mistakes happen");
    assert_eq!(made_to_reset(&hub.grpc, 200).await, Err(ENHANCE_YOUR_CALM));
    assert_eq!(
        made_to_reset(&plain_server::server().await.to_string(), 200).await,
        Ok(()),
        "tonic has no limit by default"
    );

    // Streams that are opened and cancelled faster than they are processed (CVE-2023-44487).
    let mut peer = Peer::connect(&hub.grpc).await;
    let mut flood = Vec::new();
    for stream in (0..200).map(|stream| stream * 2 + 1) {
        flood.extend(headers(stream, HEALTH_WATCH, None, &[]));
        flood.extend(WireFrame::bytes(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    peer.say(&flood).await;
    assert_eq!(peer.until(GOAWAY).await.expect("a goodbye").number(4), ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn headers_are_bounded() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut peer = Peer::connect(&hub.grpc).await;
    for (stream, size, answer) in [(1, 12_000, 200_u16), (3, 20_000, 431), (5, 12_000, 200)] {
        // Two fields, because one frame holds 16 KiB.
        let half = "x".repeat(size / 2);
        let mut block = headers(stream, "/grpc.health.v1.Health/Check", None, &[("x-a", &half), ("x-b", &half)]);
        let payload = block.split_off(9);
        let (first, rest) = payload.split_at(payload.len().min(16_000));
        const CONTINUATION: u8 = 9;
        peer.send(HEADERS, if rest.is_empty() { 4 } else { 0 }, stream, first).await;
        if !rest.is_empty() {
            peer.send(CONTINUATION, 4, stream, rest).await;
        }
        peer.send(DATA, END_STREAM, stream, &EMPTY_MESSAGE).await;
        let answered = loop {
            let frame = peer.until(HEADERS).await.expect("an answer");
            // Skip the trailers of the stream before.
            if frame.stream == stream {
                break frame;
            }
        };
        // `:status: 200` is one byte of the static table; 431 is a literal whose name is in the table.
        let got = if answered.payload[0] == 0x88 { 200 } else { 431 };
        assert_eq!(got, answer, "{size} bytes of headers");
    }
    assert!(peer.is_served().await);
}

#[tokio::test]
async fn a_dead_peer_is_found() {
    let hub =
        Hub::start_with(Database::Sqlite, &["--keepalive-interval-ms", "100", "--keepalive-timeout-ms", "100"]).await;
    let mut dead = Peer::connect(&hub.grpc).await;
    assert!(dead.until(PING).await.is_some(), "it is asked");
    assert!(dead.rest().await.iter().all(|frame| frame.kind != PING), "and asked once");
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="keepalive"} 1"#).await;

    // A client that answers pings stays connected, whatever else it does not send.
    let mut quiet = Peer::connect(&hub.grpc).await;
    for _ in 0..5 {
        let ping = quiet.until(PING).await.expect("asked again and again");
        quiet.send(PING, 1, 0, &ping.payload).await;
    }
    let mut dead = Peer::connect(&plain_server::server().await.to_string()).await;
    assert!(dead.is_open_after(Duration::from_secs(2)).await, "tonic does not ask by default");
}

/// Given a peer that disappears in the middle of an answer, with a full socket buffer, the server ends the connection: not even a ping can
/// be sent.
#[tokio::test]
async fn a_dead_peer_is_found_behind_a_full_socket() {
    let arguments = [LIVELY, &["--keepalive-interval-ms", "500", "--keepalive-timeout-ms", "500"]].concat();
    let hub = Hub::start_with(Database::Sqlite, &arguments).await;
    let client = hub.client().await;
    for index in 0..8 {
        release(&client, &format!("large-{index}"), &format!("text: {}", "x".repeat(900 * 1024))).await;
    }
    let mut peer = Peer::connect(&hub.grpc).await;
    peer.send(WINDOW_UPDATE, 0, 0, &(WINDOW_MAX - 65_535).to_be_bytes()).await;
    watch(&mut peer, &hub, 1).await;
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="keepalive"} 1"#).await;
    metrics::wait_for(&hub, "policyhub_watch_streams_open 0").await;
}

/// Opens a watch of all policies.
async fn watch(peer: &mut Peer, hub: &Hub, stream: u32) {
    let parent = b"namespaces/default";
    let length = u8::try_from(parent.len()).expect("short");
    let message = [&[0, 0, 0, 0, length + 4, 0x0a, length + 2, 0x0a, length], parent.as_slice()].concat();
    peer.call(stream, "/policyhub.v1.SyncService/WatchActive", Some(&hub.token()), &message).await;
}

/// gRPC clients ping to check their server; some servers treat that as an attack.
#[tokio::test]
async fn clients_may_ping() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut peer = Peer::connect(&hub.grpc).await;
    for _ in 0..200 {
        assert!(peer.is_served().await);
    }
}

#[tokio::test]
async fn connections_and_watches_are_counted() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut peer = Peer::connect(&hub.grpc).await;
    for stream in [1, 3, 5] {
        watch(&mut peer, &hub, stream).await;
        assert_eq!(peer.until(HEADERS).await.expect("an answer").stream, stream);
    }
    let text = metrics::text(&hub);
    assert_eq!(counted(&text, "policyhub_watch_streams_open"), Some(3.0), "{text}");
    assert_eq!(counted(&text, "policyhub_connections_open"), Some(1.0), "{text}");
    assert_eq!(counted(&text, "policyhub_connections_accepted_total"), Some(1.0), "{text}");
    peer.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes()).await;
    metrics::wait_for(&hub, "policyhub_watch_streams_open 2").await;
    drop(peer);
    metrics::wait_for(&hub, "policyhub_connections_open 0").await;
    metrics::wait_for(&hub, "policyhub_watch_streams_open 0").await;
    metrics::wait_for(&hub, r#"policyhub_connections_closed_total{cause="peer"} 1"#).await;
}
