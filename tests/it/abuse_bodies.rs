//! Requests that are never sent completely: those of one tenant must not delay anybody else.

use policyhub::client::{Client, pb};

use crate::harness::callers::{grant, issue};
use crate::harness::calls::{NAMESPACE, draft, draft_request, policy};
use crate::harness::frames::{DATA, HEADERS, Peer, headers};
use crate::harness::http::metric;
use crate::harness::{Hub, on_both_databases};

const IN_FLIGHT: &str = "policyhub_in_flight_bytes{of=\"requests\"}";
const GIVEN_UP: &str = "policyhub_in_flight_given_up_total{of=\"requests\"}";
/// Callers of one tenant, each with half-sent Drafts: by the sizes they claim, more than all the memory.
const DRAFTING_CALLERS: usize = 12;
const DRAFTS: u32 = 7;
/// Callers, each with half-sent calls on two connections: as many as fit into the window of a connection and the share of a caller.
const SENDING_CALLERS: usize = 18;
const BODIES: u32 = 11;
const BODY_BYTES: usize = 60_000;

/// Returns tokens of callers with a role in the namespace.
async fn callers(hub: &Hub, admin: &Client, role: pb::Role, count: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    for number in 0..count {
        let subject = format!("caller{number}");
        grant(admin, &subject, role, NAMESPACE).await;
        tokens.push(issue(hub, &["--subject", &subject, "--ttl", "1h"]));
    }
    tokens
}

/// Opens calls that claim `claimed` bytes, and sends the first part of each.
async fn half_sent(hub: &Hub, token: &str, path: &str, calls: u32, claimed: usize, sent: &[u8]) -> Peer {
    let mut peer = Peer::connect(&hub.grpc).await;
    // Before the server has sent its settings, a connection has a smaller window.
    assert!(peer.is_served().await);
    let length = u32::try_from(claimed).expect("a message").to_be_bytes();
    for number in 0..calls {
        let stream = number * 2 + 1;
        peer.say(&headers(stream, path, Some(token), &[])).await;
        let begun = [&[0], length.as_slice(), sent].concat();
        for part in begun.chunks(16 * 1024) {
            peer.send(DATA, 0, stream, part).await;
        }
    }
    assert!(peer.is_served().await);
    peer
}

on_both_databases! {
    /// Given requests that are announced but not sent, others are answered before any of those calls ends.
    async fn announced_drafts_stop_nobody(hub: Hub) {
        let admin = hub.client().await;
        draft(&admin, "p", "a: 1").await;
        let tokens = callers(&hub, &admin, pb::Role::Author, DRAFTING_CALLERS).await;
        let mut peers = Vec::new();
        for token in &tokens {
            let path = "/policyhub.v1.PolicyService/Draft";
            peers.push(half_sent(&hub, token, path, DRAFTS, 1024 * 1024 + 60_000, &[0x0a]).await);
        }
        let others = async {
            for number in 0..5 {
                admin.get_policy(pb::GetPolicyRequest { name: policy("p") }).await.expect("an answer for others");
                admin.draft(draft_request("q", &format!("a: {number}"))).await.expect("a draft by others");
            }
        };
        let first_end = futures_util::future::select_all(peers.iter_mut().map(|peer| Box::pin(peer.until(HEADERS))));
        tokio::select! {
            biased;
            () = others => {}
            (ended, ..) = first_end => panic!("others waited until a half-sent call had ended: {ended:?}"),
        }
    }
}

on_both_databases! {
    with &["--max-in-flight-bytes", "33554432"];

    /// Given requests that were partly sent and have stopped, they end as soon as another request needs their memory.
    async fn bodies_that_stopped_give_way(hub: Hub) {
        let admin = hub.client().await;
        let tokens = callers(&hub, &admin, pb::Role::Viewer, SENDING_CALLERS).await;
        let mut peers = Vec::new();
        for token in tokens.iter().chain(&tokens) {
            let path = "/policyhub.v1.PolicyService/GetPolicy";
            peers.push(half_sent(&hub, token, path, BODIES, BODY_BYTES + 5, &vec![0; BODY_BYTES]).await);
        }
        let held = metric(&hub.http, IN_FLIGHT).expect("a metric");
        assert!(held > 20.0 * 1024.0 * 1024.0, "{held} bytes are held");
        draft(&admin, "q", &format!("a: {}", "x".repeat(1_000_000))).await;
        assert!(metric(&hub.http, GIVEN_UP).is_some_and(|ended| ended >= 1.0), "nobody gave way");
    }
}
