//! Memory before permission: requests that are small on the wire and large when decoded, calls that are never sent completely, and who may
//! make them.
//!
//! These tests print the figures of docs/security.md: `cargo test --test it abuse_memory -- --nocapture`.

use futures_util::future::join_all;
use policyhub::client::pb;
use tonic::Code;

use crate::abuse::hpack::HpackReader;
use crate::abuse::unharmed;
use crate::harness::callers::{caller, grant, issue};
use crate::harness::calls::{NAMESPACE, draft_request, policy, refused};
use crate::harness::frames::{DATA, HEADERS, Peer, WireFrame, headers};
use crate::harness::raw::{call, channel, reason};
use crate::harness::subscribing::eventually;
use crate::harness::{Hub, on_both_databases, peak_kib};

const MIB: usize = 1024 * 1024;
/// How much the attacks may make a server grow, in KiB. Each message is in memory once while it is read.
const GROWTH_MAX_KIB: u64 = 64 * 1024;
/// Concurrent calls of an attack.
const CALLS: usize = 6;

/// Returns a message that names its resource and then has elements of two bytes, as large as its method permits.
fn two_byte_elements(name: &str, number: u8, bytes: usize) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(name.len()).expect("a short name")];
    message.extend_from_slice(name.as_bytes());
    message.extend([number << 3 | 2, 0].repeat((bytes - message.len()) / 2));
    message
}

fn import() -> (&'static str, Vec<u8>) {
    ("AdminService/ImportNamespace", two_byte_elements(NAMESPACE, 4, 4 * MIB))
}

fn draft() -> (&'static str, Vec<u8>) {
    ("PolicyService/Draft", two_byte_elements(&policy("p"), 6, MIB + 60 * 1024))
}

/// Makes an attack by several concurrent calls; each must be refused with this code and reason.
async fn attack(hub: &mut Hub, who: &str, token: &str, (method, message): (&str, Vec<u8>), refusal: (Code, &str)) {
    let before = peak_kib(hub.pid());
    let calls = (0..CALLS).map(|_| async { call(channel(hub).await, method, token, message.clone()).await });
    let answers = join_all(calls).await;
    let grown = peak_kib(hub.pid()).saturating_sub(before);
    println!("{method}, {CALLS} calls of {} KiB by {who}: {} MiB more", message.len() / 1024, grown / 1024);
    for answer in answers {
        assert_eq!((answer.code(), reason(&answer).as_str()), refusal, "{answer:?}");
    }
    assert!(grown <= GROWTH_MAX_KIB, "the server grew by {grown} KiB");
    unharmed(hub, before, GROWTH_MAX_KIB);
}

/// Returns the gRPC status of an answer without a body.
fn grpc_status(answer: &WireFrame) -> Option<String> {
    let fields = HpackReader::default().read(&answer.payload);
    fields.into_iter().find(|(name, _)| name == "grpc-status").map(|(_, value)| value)
}

on_both_databases! {
    /// Given a caller without a role for a method, its request is refused by its headers alone and nothing is decoded.
    async fn without_a_role_nothing_is_decoded(hub: Hub) {
        let mut hub = hub;
        let token = issue(&hub, &["--subject", "nobody", "--ttl", "1h"]);
        for attempt in [import(), draft()] {
            attack(&mut hub, "nobody", &token, attempt, (Code::PermissionDenied, "PERMISSION_DENIED")).await;
        }
        let reader = issue(&hub, &["--subject", "reader", "--ttl", "1h"]);
        grant(&hub.client().await, "reader", pb::Role::Viewer, NAMESPACE).await;
        attack(&mut hub, "a reader", &reader, draft(), (Code::PermissionDenied, "PERMISSION_DENIED")).await;
    }

    /// Given a caller with a role, the decoded size of a message is computed and limited before it is decoded.
    async fn two_bytes_do_not_become_two_hundred(hub: Hub) {
        let mut hub = hub;
        let token = hub.token();
        for attempt in [import(), draft()] {
            attack(&mut hub, "an admin", &token, attempt, (Code::InvalidArgument, "MESSAGE_TOO_COMPLEX")).await;
        }
    }

    /// Given a caller without a role, the refusal comes before the body, and a call that is never sent completely ends.
    async fn a_half_sent_call_ends(hub: Hub) {
        let path = "/policyhub.v1.PolicyService/Stage";
        let stranger = issue(&hub, &["--subject", "nobody", "--ttl", "1h"]);
        for (who, token, code) in [("an admin", hub.token(), Code::DeadlineExceeded), ("a stranger", stranger, Code::PermissionDenied)] {
            let mut peer = Peer::connect(&hub.grpc).await;
            peer.say(&headers(1, path, Some(&token), &[])).await;
            peer.send(DATA, 0, 1, &[0, 0, 0, 16, 0, 0x0a]).await;
            let answer = peer.until(HEADERS).await.unwrap_or_else(|| panic!("{who} is not answered"));
            assert_eq!(grpc_status(&answer), Some((code as i32).to_string()), "{who}: {answer:?}");
        }
    }

    /// A new role is in effect for the next call, and a removed one no longer is.
    async fn a_role_counts_from_the_call_that_gave_it(hub: Hub) {
        let admin = hub.client().await;
        let late = caller(&hub, "late").await;
        refused(late.draft(draft_request("p", "a: 1")).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let given = grant(&admin, "late", pb::Role::Author, NAMESPACE).await;
        late.draft(draft_request("p", "a: 1")).await.expect("a draft by an author");
        crate::harness::callers::take_away(&admin, &given.name).await.expect("an end of the role");
        refused(late.draft(draft_request("p", "a: 2")).await, Code::PermissionDenied, "PERMISSION_DENIED");
    }
}

on_both_databases! {
    with &["--max-in-flight-bytes", "33554432"];

    /// Given a caller that announces large requests and does not send them, its own share is full and it is told so; others are not
    /// affected.
    async fn a_full_share_is_the_callers_own(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "mallory", pb::Role::Admin, NAMESPACE).await;
        let token = issue(&hub, &["--subject", "mallory", "--ttl", "1h"]);
        let mut peers = Vec::new();
        for _ in 0..4 {
            let mut peer = Peer::connect(&hub.grpc).await;
            peer.say(&headers(1, "/policyhub.v1.AdminService/ImportNamespace", Some(&token), &[])).await;
            peer.send(DATA, 0, 1, &[0, 0, 64, 0, 0, 0x0a]).await;
            assert!(peer.is_served().await);
            peers.push(peer);
        }
        let mallory = hub.client_with(Some(token)).await;
        let asked = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
        eventually("the share is full", async || match mallory.get_namespace(asked.clone()).await {
            Ok(_) => false,
            Err(error) => {
                assert_eq!((error.code(), error.reason()), (Code::ResourceExhausted, "REQUEST_BUDGET_EXHAUSTED"));
                true
            }
        })
        .await;
        for number in 0..20 {
            admin.draft(draft_request("p", &format!("a: {number}"))).await.map(|_| ()).or_else(|error| {
                // That many drafts may be open, and no more.
                if error.reason() == "TOO_MANY_OPEN_DRAFTS" { Ok(()) } else { Err(error) }
            })
            .expect("room for others");
        }
    }
}
