//! Unread answers: how much memory they may take together, and how long one waits for its reader.

use policyhub::client::pb;

use crate::abuse::hpack::HpackReader;
use crate::abuse::{resident_kib, unharmed};
use crate::harness::callers::{grant, issue};
use crate::harness::calls::{NAMESPACE, policy, release};
use crate::harness::frames::{END_STREAM, HEADERS, Peer, RST_STREAM, WINDOW_UPDATE, WireFrame};
use crate::harness::http::metric;
use crate::harness::subscribing::eventually;
use crate::harness::{Hub, on_both_databases};

/// Number of calls per connection.
const CALLS: u32 = 60;
const PEERS: usize = 3;
/// Flow-control window of a connection that has space for all answers of a test.
const WINDOW_LARGE: u32 = 16 * 1024 * 1024;
/// How much the server may grow: the share of one caller, and what its allocator keeps. All answers together are 360 MiB.
const GROWTH_MAX_KIB: u64 = 96 * 1024;
const IN_FLIGHT: &str = "policyhub_in_flight_bytes{of=\"answers\"}";
const GIVEN_UP: &str = "policyhub_in_flight_given_up_total{of=\"answers\"}";

/// Publishes and activates two policies with the largest contents, and returns the token of a subscriber.
async fn large_set(hub: &Hub) -> String {
    let admin = hub.client().await;
    for id in ["p", "q"] {
        release(&admin, id, &format!("a: {}", "x".repeat(1_040_000))).await;
    }
    grant(&admin, "idler", pb::Role::Subscriber, NAMESPACE).await;
    issue(hub, &["--subject", "idler", "--ttl", "1h"])
}

fn framed(message: &impl prost::Message) -> Vec<u8> {
    let length = u32::try_from(message.encoded_len()).expect("a small message").to_be_bytes();
    [&[0], length.as_slice(), &message.encode_to_vec()].concat()
}

/// Makes calls whose answers are not read, and returns the connection and the streams that got an answer, once each call has an answer or a
/// refusal.
async fn unread(hub: &Hub, token: &str, (path, message): (&str, &[u8]), calls: u32) -> (Peer, Vec<u32>) {
    let mut peer = Peer::connect_without_window(&hub.grpc).await;
    for number in 0..calls {
        peer.call(number * 2 + 1, path, Some(token), message).await;
    }
    let (mut header_fields, mut answered) = (HpackReader::default(), Vec::new());
    for _ in 0..calls {
        let WireFrame { flags, stream, payload, .. } = peer.until(HEADERS).await.expect("a connection that lives");
        let fields = header_fields.read(&payload);
        if flags & END_STREAM == 0 {
            answered.push(stream);
        } else {
            let status = fields.into_iter().find(|(name, _)| name == "grpc-status");
            assert_eq!(status.map(|(_, value)| value).as_deref(), Some("8"), "a call is refused for memory alone");
        }
    }
    (peer, answered)
}

on_both_databases! {
    /// Given one caller that leaves many answers unread, it uses no more than its share of the memory, and others are answered.
    async fn answers_nobody_reads_have_a_bound(hub: Hub) {
        let mut hub = hub;
        let token = large_set(&hub).await;
        let admin = hub.client().await;
        let before = resident_kib(&hub);
        let message = framed(&pb::ListActiveRequest { parent: NAMESPACE.to_owned(), page_size: 1_000, ..Default::default() });
        let call = ("/policyhub.v1.SyncService/ListActive", message.as_slice());
        let mut all = tokio::task::JoinSet::new();
        let peers: Vec<_> = (0..PEERS).map(|_| unread(&hub, &token, call, CALLS)).collect();
        let peers = futures_util::future::join_all(peers).await;
        unharmed(&mut hub, before, GROWTH_MAX_KIB);
        let asked = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
        for _ in 0..10 {
            let (client, asked) = (admin.clone(), asked.clone());
            all.spawn(async move { client.get_active(asked).await.map(drop) });
        }
        for answer in all.join_all().await {
            answer.expect("an answer for others");
        }
        assert!(peers.iter().all(|(_, answered)| answered.len() < CALLS as usize), "the share of one caller is smaller");
        drop(peers);
        eventually("what was left unread is free", async || metric(&hub.http, IN_FLIGHT) == Some(0.0)).await;
    }

    /// Given a client that reads one byte now and then, its stream ends, even when the server has already written everything.
    async fn who_takes_a_byte_now_and_then_is_no_reader(hub: Hub) {
        let token = large_set(&hub).await;
        let message = framed(&pb::GetActiveRequest { name: policy("p"), ..Default::default() });
        let (mut peer, mut answered) = unread(&hub, &token, ("/policyhub.v1.SyncService/GetActive", &message), 3).await;
        answered.sort_unstable();
        let [first, second, third] = answered[..] else { panic!("there is room for three answers: {answered:?}") };
        // The first stream gets no window, the second one byte, the third all but the last bytes, which the server has then written.
        peer.send(WINDOW_UPDATE, 0, second, &1_u32.to_be_bytes()).await;
        peer.send(WINDOW_UPDATE, 0, 0, &WINDOW_LARGE.to_be_bytes()).await;
        peer.send(WINDOW_UPDATE, 0, third, &1_000_000_u32.to_be_bytes()).await;
        let mut reset = Vec::new();
        while reset.len() < answered.len() {
            reset.push(peer.until(RST_STREAM).await.expect("a connection that lives").stream);
        }
        reset.sort_unstable();
        assert_eq!(reset, [first, second, third]);
        eventually("what was left unread is free", async || metric(&hub.http, IN_FLIGHT) == Some(0.0)).await;
        assert_eq!(metric(&hub.http, GIVEN_UP), Some(3.0));
    }
}
