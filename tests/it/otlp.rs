//! Traces: spans reach a collector and belong to the caller's trace.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use policyhub::client::pb;
use policyhub::client::pb::policy_service_client::PolicyServiceClient;

use crate::harness::calls::{policy, release};
use crate::harness::{Database, Hub};

/// The caller's trace id and span id (W3C Trace Context).
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Received = Arc<Mutex<Vec<u8>>>;

/// Accepts any export, keeps its bytes, and answers an empty gRPC message.
async fn export(State(received): State<Received>, request: Request) -> Response {
    let body = to_bytes(request.into_body(), 1 << 20).await.expect("a body");
    received.lock().expect("the bytes").extend_from_slice(&body);
    Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "0")
        .body(Body::from(vec![0_u8; 5]))
        .expect("a response")
}

#[tokio::test]
async fn spans_reach_the_collector_and_join_the_callers_trace() {
    let received = Received::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let collector = axum::Router::new().fallback(export).with_state(received.clone());
    let routes = tonic::service::Routes::from(collector);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(incoming));

    let mut hub = Hub::start_with(Database::Sqlite, &["--otlp-endpoint", &endpoint]).await;
    release(&hub.client().await, "p", "a: 1").await;
    let channel = tonic::transport::Endpoint::new(hub.grpc.clone()).expect("an endpoint").connect().await;
    let mut client = PolicyServiceClient::new(channel.expect("a connection"));
    let mut request = tonic::Request::new(pb::GetPolicyRequest { name: policy("p") });
    request.metadata_mut().insert("authorization", format!("Bearer {}", hub.token()).parse().expect("ASCII"));
    request.metadata_mut().insert("traceparent", TRACEPARENT.parse().expect("ASCII"));
    client.get_policy(request).await.expect("a policy");
    // The last spans are sent before the process ends.
    hub.signal("TERM");
    assert!(hub.ended().await.success());

    let bytes = received.lock().expect("the bytes").clone();
    let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    for method in ["Draft", "Publish", "Activate", "GetPolicy"] {
        assert!(holds(format!("/policyhub.v1.PolicyService/{method}").as_bytes()), "no span of {method}");
    }
    let trace_id: Vec<u8> =
        (0..16).map(|at| u8::from_str_radix(&TRACE_ID[at * 2..at * 2 + 2], 16).expect("hex")).collect();
    assert!(holds(&trace_id), "no span joined the caller's trace");
    assert!(!holds(hub.token().as_bytes()), "a token left with the spans");
}
