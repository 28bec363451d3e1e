//! Limits of one request: its size by RPC, its deadline, and the number of watches.

use std::collections::BTreeSet;
use std::time::Duration;

use policyhub::client::{Client, ClientError, pb};
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::calls::{draft, draft_request, policy, refusal, version};
use crate::harness::frames::{self, DATA, EMPTY_MESSAGE, END_STREAM, HEADERS, Peer};
use crate::harness::metrics::{self, counted};
use crate::harness::subscribing::eventually;
use crate::harness::watching;
use crate::harness::{Database, Hub, on_both_databases};

const KIB: usize = 1024;
/// The limits in docs/operations/limits.md.
const WATCHES_PER_CONNECTION: usize = 100;
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

fn too_large<T: std::fmt::Debug>(case: &str, answer: Result<T, ClientError>) {
    let error = refusal(answer);
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"), "{case}: {error:?}");
}

/// Checks that the call was refused with a reason of its handler, so its message was read.
fn read<T: std::fmt::Debug>(case: &str, answer: Result<T, ClientError>) {
    let error = refusal(answer);
    assert_ne!(error.reason(), "MESSAGE_TOO_LARGE", "{case}: {error:?}");
}

fn schema(size: usize) -> pb::UpdatePolicyRequest {
    let schema = format!(r#"{{"description":"{}"}}"#, "x".repeat(size));
    pb::UpdatePolicyRequest {
        policy: Some(pb::Policy {
            name: policy("p"),
            settings: Some(pb::PolicySettings { json_schema: schema, ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn create(size: usize) -> pb::CreatePolicyRequest {
    let pb::UpdatePolicyRequest { policy, .. } = schema(size);
    let policy = policy.map(|policy| pb::Policy { name: String::new(), ..policy });
    pb::CreatePolicyRequest {
        parent: "namespaces/default".to_owned(),
        policy_id: "q".to_owned(),
        policy,
        ..Default::default()
    }
}

fn publish(size: usize) -> pb::PublishRequest {
    pb::PublishRequest { name: version("p", 1), reason: "x".repeat(size), ..Default::default() }
}

on_both_databases! {
    /// Messages are limited to 64 KiB, and to more only for RPCs with large content; the connection stays usable after a refusal.
    async fn each_rpc_has_its_size(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        read("60 KiB of a reason", client.publish(publish(60 * KIB)).await);
        too_large("65 KiB of a reason", client.publish(publish(65 * KIB)).await);
        too_large("900 KiB of a reason", client.publish(publish(900 * KIB)).await);
        read("300 KiB of a schema", client.update_policy(schema(300 * KIB)).await);
        too_large("330 KiB of a schema", client.update_policy(schema(330 * KIB)).await);
        read("300 KiB of a schema", client.create_policy(create(300 * KIB)).await);
        too_large("330 KiB of a schema", client.create_policy(create(330 * KIB)).await);
        too_large("1.2 MiB of content", client.draft(draft_request("p", &"x".repeat(1_200 * KIB))).await);
        let many = pb::WatchActiveRequest { targets: vec![pb::WatchTarget { parent: "x".repeat(65 * KIB), ..Default::default() }], ..Default::default() };
        too_large("65 KiB of a watch", client.watch_active(many).await);
        draft(&client, "p", &format!("a: {}", "x".repeat(1_000 * KIB))).await;
    }
}

/// Given a server with a smaller content limit, drafts are limited accordingly.
#[tokio::test]
async fn a_draft_may_be_as_large_as_its_content() {
    let hub = Hub::start_with(Database::Sqlite, &["--max-content-bytes", "1000"]).await;
    let client = hub.client().await;
    let error = refusal(client.draft(draft_request("p", &"x".repeat(60 * KIB))).await);
    assert_eq!(error.reason(), "CONTENT_TOO_LARGE");
    too_large("66 KiB of content", client.draft(draft_request("p", &"x".repeat(66 * KIB))).await);
}

#[tokio::test]
async fn what_needs_no_token_is_bounded_too() {
    let hub = Hub::start(Database::Sqlite).await;
    let channel = Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint").connect().await.expect("a connection");
    let mut health = HealthClient::new(channel);
    let ask = |size: usize| HealthCheckRequest { service: "x".repeat(size) };
    assert_eq!(health.check(ask(1_000)).await.expect_err("no such service").code(), Code::NotFound);
    assert_eq!(health.check(ask(1_100)).await.expect_err("too large").code(), Code::ResourceExhausted);
}

/// Given incomplete health checks, probes of others are still answered.
#[tokio::test]
async fn half_health_checks_starve_no_probe() {
    let hub = Hub::start_with(Database::Sqlite, &["--max-in-flight-bytes", "33554432"]).await;
    let mut halves = Vec::new();
    // Prefixes for messages of 60 KiB and of 900 bytes, without the message. The large ones claim more than a caller's share of memory.
    const LARGE: [u8; 5] = [0, 0, 0, 240, 0];
    for prefix in [LARGE, LARGE, LARGE, [0, 0, 0, 3, 132]] {
        let mut half = Peer::connect_from(2, &hub.grpc).await;
        half.settings().await.expect("settings");
        for number in 0..90 {
            let stream = 2 * number + 1;
            half.say(&frames::headers(stream, HEALTH_CHECK, None, &[])).await;
            half.send(DATA, 0, stream, &prefix).await;
        }
        // When the ping is answered, the server has read everything before it.
        half.is_served().await;
        halves.push(half);
    }
    let channel = Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint").connect().await.expect("a connection");
    for _ in 0..10 {
        let asked = HealthCheckRequest { service: "policyhub.v1.SyncService".to_owned() };
        HealthClient::new(channel.clone()).check(asked).await.expect("an answer to a probe");
    }
}

/// Waits for an answer with a message.
async fn answered(peer: &mut Peer, stream: u32) {
    let answer = peer.until(HEADERS).await.expect("an answer");
    assert_eq!((answer.stream, answer.flags & END_STREAM), (stream, 0), "an answer with a message");
    let trailers = peer.until(HEADERS).await.expect("trailers");
    assert_eq!((trailers.stream, trailers.flags & END_STREAM), (stream, END_STREAM));
}

/// Given a connection without a credential that sends health checks and completes none, it has few of them open.
#[tokio::test]
async fn half_health_checks_of_a_connection_are_few() {
    const PER_CONNECTION: usize = 4;
    let hub = Hub::start(Database::Sqlite).await;
    let mut peer = Peer::connect_from(2, &hub.grpc).await;
    let mut open: BTreeSet<u32> = (0..90).map(|number| 2 * number + 1).collect();
    for stream in &open {
        peer.say(&frames::headers(*stream, HEALTH_CHECK, None, &[])).await;
    }
    while open.len() > PER_CONNECTION {
        let answer = peer.until(HEADERS).await.expect("an answer");
        assert!(open.remove(&answer.stream) && answer.flags & END_STREAM != 0, "a refusal: {answer:?}");
    }
    // When they are complete and answered, there is room for the next. The slot of the last one may be given back after its answer.
    for stream in open {
        peer.send(DATA, END_STREAM, stream, &EMPTY_MESSAGE).await;
        answered(&mut peer, stream).await;
    }
    peer.call(181, HEALTH_CHECK, None, &EMPTY_MESSAGE).await;
    answered(&mut peer, 181).await;
}

/// Given a cluster behind one address, each of its clients can have a health watch, and so can the next cluster.
#[tokio::test]
async fn many_health_watches_of_one_network_are_served() {
    const WATCHES_PER_CONNECTION: usize = 90;
    let hub = Hub::start(Database::Sqlite).await;
    let mut peers = Vec::new();
    for host in [2, 3] {
        for _ in 0..3 {
            let mut peer = Peer::connect_from(host, &hub.grpc).await;
            for number in 0..WATCHES_PER_CONNECTION {
                let stream = u32::try_from(2 * number + 1).expect("a stream");
                peer.call(stream, "/grpc.health.v1.Health/Watch", None, &EMPTY_MESSAGE).await;
                let answer = peer.until(HEADERS).await.expect("an answer");
                assert_eq!((answer.stream, answer.flags & END_STREAM), (stream, 0), "a stream that goes on");
            }
            peers.push(peer);
        }
    }
}

#[tokio::test]
async fn a_server_carries_so_many_watches() {
    let hub = Hub::start_with(Database::Sqlite, &["--max-watch-streams", "2"]).await;
    // The limit is per server, on whatever connections they come.
    let clients: [Client; 3] = [hub.client().await, hub.client().await, hub.client().await];
    let mut watches = Vec::new();
    for client in clients.iter().take(2) {
        let mut watch = watching::open(client).await;
        watching::change(&mut watch).await;
        watches.push(watch);
    }
    let error = refusal(watching::raw(&clients[2], None).await);
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"), "{error:?}");
    assert_eq!(error.metadata()["limit_streams"], "2");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    let text = metrics::text(&hub);
    assert_eq!(counted(&text, "policyhub_watch_streams_open"), Some(2.0), "{text}");
    watches.pop();
    metrics::wait_for(&hub, "policyhub_watch_streams_open 1").await;
    let mut watch = watching::open(&clients[2]).await;
    watching::change(&mut watch).await;
}

/// A client silently queues streams above the limit, so that limit is above the one of watches.
#[tokio::test]
async fn a_connection_full_of_watches_has_room_for_calls() {
    let hub = Hub::start(Database::Sqlite).await;
    let (client, other) = (hub.client().await, hub.client().await);
    let mut watches = Vec::new();
    for _ in 0..WATCHES_PER_CONNECTION {
        watches.push(watching::open(&client).await);
    }
    client.list_namespaces(pb::ListNamespacesRequest::default()).await.expect("an answer beside them");
    let error = refusal(watching::raw(&client, None).await);
    assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"), "{error:?}");
    assert!(error.message().contains("another connection"), "{error}");
    assert_eq!(error.metadata()["limit_streams"], WATCHES_PER_CONNECTION.to_string());
    drop(watching::open(&other).await);

    watches.pop();
    eventually("room for a watch", async || watching::raw(&client, None).await.is_ok()).await;
}

/// Given a deadline, it is kept.
#[tokio::test]
async fn a_deadline_is_kept() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut peer = Peer::connect(&hub.grpc).await;
    let headers = |stream, timeout| frames::headers(stream, HEALTH_CHECK, None, &[("grpc-timeout", timeout)]);
    // The body never comes, so the call would not end by itself.
    peer.say(&headers(1, "1m")).await;
    let answer = peer.until(HEADERS).await.expect("an answer");
    assert_eq!(answer.stream, 1);
    metrics::wait_for(&hub, r#"policyhub_rpc_calls_total{code="DeadlineExceeded",method="other"} 1"#).await;
}
