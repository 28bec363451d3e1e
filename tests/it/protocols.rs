//! Other protocols on the gRPC port: HTTP/1.1, JSON, gRPC-Web, Connect; and how the message of a status is encoded.

use http::Method;
use policyhub::client::pb;
use prost_reflect::prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::certificates::TestAuthority;
use crate::harness::http2::{Http2Answer, ask, framed, post};
use crate::harness::{Database, Hub};

const GET_NAMESPACE: &str = "/policyhub.v1.AdminService/GetNamespace";
const GET_POLICY: &str = "/policyhub.v1.PolicyService/GetPolicy";
const WATCH: &str = "/policyhub.v1.SyncService/WatchActive";
/// The flag of a frame that holds trailers (gRPC-Web, "Protocol differences").
const TRAILERS: u8 = 0x80;

fn get_namespace() -> Vec<u8> {
    pb::GetNamespaceRequest { name: "namespaces/default".to_owned() }.encode_to_vec()
}

/// Sends text and returns what an HTTP/1.1 client reads until the connection ends.
async fn say(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("a server that listens");
    let mut answer = Vec::new();
    // A server may close TLS without close_notify.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("text")
}

fn says_what_this_is(answer: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{head}");
    assert!(head.contains("Upgrade: HTTP/2.0\r\n") && head.contains("Connection: upgrade, close\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{head}");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    for word in ["gRPC port of Policy Hub", "HTTP/2", "http_addr"] {
        assert!(body.contains(word), "{body}");
    }
}

#[tokio::test]
async fn http_1_is_told_what_this_port_is() {
    let hub = Hub::start_with(Database::Sqlite, &["--handshake-timeout-ms", "2000"]).await;
    let address = hub.grpc.trim_start_matches("http://").to_owned();
    for request in [
        "GET / HTTP/1.1\r\nHost: policyhub\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST /policyhub.v1.AdminService/ListNamespaces HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        "GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
    ] {
        says_what_this_is(&say(TcpStream::connect(&address).await.expect("a connection"), request).await);
    }
    // The protocol is unknown, or another one: the timeout for the start of a connection closes it silently.
    for request in ["GE", "OPTIONS", "PRI * HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n", "get / http/1.1\r\n\r\n"] {
        assert_eq!(say(TcpStream::connect(&address).await.expect("a connection"), request).await, "", "{request}");
    }
}

#[tokio::test]
async fn http_1_is_told_so_over_tls_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let (cert, key) = (dir.path().join("server.pem"), dir.path().join("server.key"));
    let authority = TestAuthority::new("server");
    authority.serve(&cert, &key);
    let path = |file: &std::path::Path| file.display().to_string();
    let hub = Hub::start_with(Database::Sqlite, &["--tls-cert", &path(&cert), "--tls-key", &path(&key)]).await;
    let address = hub.grpc.trim_start_matches("https://").to_owned();
    for (offered, chosen) in
        [(&["http/1.1"][..], Some("http/1.1")), (&[], None), (&["http/1.1", "h2"], Some("h2")), (&["h2"], Some("h2"))]
    {
        let stream = TcpStream::connect(&address).await.expect("a connection");
        let mut config = authority.trusted();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await;
        let stream = stream.expect("a handshake");
        let agreed = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        assert_eq!(agreed.as_deref(), chosen, "of {offered:?}");
        says_what_this_is(&say(stream, "GET / HTTP/1.1\r\nHost: policyhub\r\n\r\n").await);
    }
}

#[tokio::test]
async fn what_is_not_grpc_is_told_what_is() {
    let hub = Hub::start(Database::Sqlite).await;
    for kind in [
        "application/json",
        "application/proto",
        "application/connect+json",
        "application/connect+proto",
        "application/grpc+json",
        "application/grpc-web+json",
        "application/x-www-form-urlencoded",
        "text/plain",
    ] {
        refused(kind, &post(&hub, GET_NAMESPACE, &[("content-type", kind)], b"{}".to_vec()).await);
    }
    refused("none", &post(&hub, GET_NAMESPACE, &[], framed(0, &get_namespace())).await);
    // A browser's preflight request before it sends to another origin: no origin is allowed.
    let preflight =
        [("origin", "https://example.org"), ("access-control-request-method", "POST"), ("-authorization", "")];
    for method in [Method::GET, Method::OPTIONS, Method::HEAD] {
        refused(method.as_str(), &ask(&hub, method.clone(), GET_NAMESPACE, &preflight, Vec::new()).await);
    }
    let taken = ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"];
    for kind in taken {
        let answer = post(&hub, GET_NAMESPACE, &[("content-type", kind)], framed(0, &get_namespace())).await;
        assert_eq!((answer.status, answer.field("grpc-status")), (200, Some("0")), "{kind}");
    }
}

fn refused(case: &str, answer: &Http2Answer) {
    assert_eq!((answer.status, answer.field("grpc-status")), (415, None), "{case}: {answer:?}");
    let body = String::from_utf8_lossy(&answer.body);
    assert!(case == "HEAD" || body.contains("application/grpc-web"), "{case}: {body}");
    assert!(answer.field("accept").is_some_and(|taken| taken.starts_with("application/grpc, ")), "{case}");
    assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{case}: {answer:?}");
}

/// Returns the frames of gRPC-Web: flag and payload.
fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (payload, rest) = rest.split_at(length);
        frames.push((head[0], payload.to_vec()));
        body = rest;
    }
    frames
}

#[tokio::test]
async fn grpc_web_is_served() {
    let hub = Hub::start(Database::Sqlite).await;
    let web = |kind: &'static str, encoding: &'static str| [("content-type", kind), ("grpc-encoding", encoding)];
    for kind in ["application/grpc-web", "application/grpc-web+proto"] {
        let answer = post(&hub, GET_NAMESPACE, &web(kind, "identity"), framed(0, &get_namespace())).await;
        assert_eq!((answer.status, answer.trailers.len()), (200, 0), "{answer:?}");
        assert_eq!(answer.field("content-type"), Some("application/grpc-web+proto"));
        let frames = frames(&answer.body);
        let [(0, message), (TRAILERS, trailers)] = frames.as_slice() else { panic!("{frames:?}") };
        let message = pb::GetNamespaceResponse::decode(message.as_slice()).expect("an answer");
        assert_eq!(message.namespace.expect("a namespace").name, "namespaces/default");
        assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"), "{trailers:?}");
    }
    // gRPC-Web calls have the same credentials and limits, and refusals have the same reasons.
    let large = framed(0, &vec![0; 70_000]);
    let stranger = [("content-type", "application/grpc-web"), ("-authorization", "")];
    for (case, answer, code) in [
        ("no token", post(&hub, GET_NAMESPACE, &stranger, framed(0, &get_namespace())).await, "16"),
        ("too large", post(&hub, GET_NAMESPACE, &web("application/grpc-web", "identity"), large).await, "8"),
        (
            "no such encoding",
            post(&hub, GET_NAMESPACE, &web("application/grpc-web", "br"), framed(1, b"x")).await,
            "12",
        ),
        ("no message", post(&hub, GET_NAMESPACE, &web("application/grpc-web", "identity"), Vec::new()).await, "3"),
    ] {
        assert_eq!(answer.field("grpc-status"), Some(code), "{case}: {answer:?}");
        assert!(answer.field("grpc-status-details-bin").is_some(), "{case}: {answer:?}");
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{case}");
    }
    let watch = pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget { parent: "namespaces/none".to_owned(), ..Default::default() }],
        ..Default::default()
    }
    .encode_to_vec();
    let answer = post(&hub, WATCH, &web("application/grpc-web", "identity"), framed(0, &watch)).await;
    assert_eq!(answer.field("grpc-status"), Some("5"), "{answer:?}");
}

/// As base64, for clients that stream by XMLHttpRequest.
#[tokio::test]
async fn grpc_web_as_text_is_served() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let hub = Hub::start(Database::Sqlite).await;
    let text = STANDARD.encode(framed(0, &get_namespace())).into_bytes();
    let fields = [("content-type", "application/grpc-web-text"), ("accept", "application/grpc-web-text")];
    let answer = post(&hub, GET_NAMESPACE, &fields, text).await;
    assert_eq!(answer.field("content-type"), Some("application/grpc-web-text+proto"));
    // Each frame is separate base64.
    let bytes: Vec<u8> = answer.body.chunks(4).flat_map(|chunk| STANDARD.decode(chunk).expect("base64")).collect();
    let frames = frames(&bytes);
    assert!(matches!(frames.as_slice(), [(0, _), (TRAILERS, _)]), "{frames:?}");
}

/// The specification escapes no printable ASCII except the percent sign: some clients show an escape unchanged.
#[tokio::test]
async fn messages_of_statuses_are_escaped_no_more_than_they_must_be() {
    let hub = Hub::start(Database::Sqlite).await;
    let grpc = [("content-type", "application/grpc")];
    let get = pb::GetPolicyRequest { name: "namespaces/default/policies/Q".to_owned() }.encode_to_vec();
    let answer = post(&hub, GET_POLICY, &grpc, framed(0, &get)).await;
    assert!(answer.trailers.is_empty(), "refused by headers alone: {answer:?}");
    assert_eq!(
        answer.field("grpc-message"),
        Some("name: policy id must match ^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$"),
        "{answer:?}"
    );
    let outside = [("content-type", "application/grpc"), ("-authorization", "")];
    let answer = post(&hub, GET_POLICY, &outside, framed(0, &get)).await;
    assert!(answer.field("grpc-message").is_some_and(|message| message.contains(" an authorization: Bearer ")));
    // Other characters are escaped.
    let watch = pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget { parent: "namespaces/default".to_owned(), ..Default::default() }],
        mode: 9,
        ..Default::default()
    };
    let answer = post(&hub, WATCH, &grpc, framed(0, &watch.encode_to_vec())).await;
    assert_eq!(answer.field("grpc-message"), Some("mode: is not a mode this server knows"));
}
