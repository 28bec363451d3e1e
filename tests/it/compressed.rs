//! Compressed requests: gzip is accepted, and small requests that expand to large ones are refused at the limit of their method.

use std::io::Write as _;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};
use futures_util::future::join_all;
use policyhub::client::pb;
use prost_reflect::prost::Message as _;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::abuse::unharmed;
use crate::harness::callers::issue;
use crate::harness::calls::{draft_request, policy};
use crate::harness::http2::{Http2Answer, framed, post};
use crate::harness::raw::{channel, reason};
use crate::harness::{Database, Hub, peak_kib};

const DRAFT: &str = "/policyhub.v1.PolicyService/Draft";
const GET_NAMESPACE: &str = "/policyhub.v1.AdminService/GetNamespace";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
/// How much several concurrent bombs may make a server grow: each is in memory as sent, and expanded up to the limit of its method.
const GROWTH_MAX_KIB: u64 = 24 * 1024;
const BOMBS: usize = 6;
const MIB: usize = 1024 * 1024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Returns this many MiB of zeros in a thousandth of the bytes. The end is missing, because no reader may get that far.
fn bomb(mebibytes: usize) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::best(), false);
    let mut block = Vec::with_capacity(64 * 1024);
    // A full flush ends at a byte boundary and resets the state, so that the block can be repeated.
    deflate.compress_vec(&vec![0; MIB], &mut block, FlushCompress::Full).expect("a block");
    [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff], &block.repeat(mebibytes)[..]].concat()
}

async fn ask(hub: &Hub, path: &str, encoding: &str, body: Vec<u8>) -> Http2Answer {
    post(hub, path, &[("content-type", "application/grpc"), ("grpc-encoding", encoding)], body).await
}

/// Returns the code and reason of an answer.
fn refusal(answer: &Http2Answer) -> (Code, String) {
    let headers = if answer.trailers.is_empty() { &answer.headers } else { &answer.trailers };
    let status = tonic::Status::from_header_map(headers).expect("a status");
    (status.code(), reason(&status))
}

#[tokio::test]
async fn requests_by_gzip_are_taken() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut grpc = tonic::client::Grpc::new(channel(&hub).await).send_compressed(CompressionEncoding::Gzip);
    for content in ["a: 1".to_owned(), format!("a: {}", "b".repeat(1_000_000))] {
        let mut asked = tonic::Request::new(draft_request("p", &content));
        asked.metadata_mut().insert("authorization", format!("Bearer {}", hub.token()).parse().expect("a header"));
        grpc.ready().await.expect("ready");
        let codec = tonic_prost::ProstCodec::<pb::DraftRequest, pb::DraftResponse>::default();
        let answer = grpc.unary(asked, DRAFT.parse().expect("a path"), codec).await.expect("a draft").into_inner();
        let version = answer.version.expect("a version");
        assert_eq!(version.size_bytes, i64::try_from(content.len()).expect("small"));
    }
    // With the header, a message may be compressed; the flag says whether it is.
    let get = pb::GetNamespaceRequest { name: "namespaces/default".to_owned() }.encode_to_vec();
    for body in [framed(0, &get), framed(1, &gzip(&get))] {
        assert_eq!(ask(&hub, GET_NAMESPACE, "gzip", body).await.field("grpc-status"), Some("0"));
    }
    // Methods that need no token accept it too.
    assert_eq!(ask(&hub, HEALTH_CHECK, "gzip", framed(1, &gzip(&[]))).await.field("grpc-status"), Some("0"));
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let asked = tokio_stream::once(ServerReflectionRequest { message_request, ..Default::default() });
    let mut reflection = ServerReflectionClient::new(channel(&hub).await).send_compressed(CompressionEncoding::Gzip);
    let mut answers = reflection.server_reflection_info(asked).await.expect("a stream").into_inner();
    assert!(answers.message().await.expect("an answer").is_some());
}

#[tokio::test]
async fn a_bomb_is_refused_within_the_limit_of_its_method() {
    let mut hub = Hub::start(Database::Sqlite).await;
    ask(&hub, GET_NAMESPACE, "gzip", framed(1, &gzip(&[]))).await;
    let (gibibyte, small) = (bomb(1_024), bomb(48));
    assert!(gibibyte.len() > MIB && small.len() < 64 * 1024, "{} and {}", gibibyte.len(), small.len());
    let too_large = (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned());
    let stranger = issue(&hub, &["--subject", "nobody", "--ttl", "1h"]);
    for (path, bomb) in [(DRAFT, &gibibyte), (GET_NAMESPACE, &small), (HEALTH_CHECK, &bomb(1)[..1_000].to_vec())] {
        let before = peak_kib(hub.pid());
        let answers = join_all((0..BOMBS).map(|_| ask(&hub, path, "gzip", framed(1, bomb)))).await;
        let grown = peak_kib(hub.pid()).saturating_sub(before);
        println!("{path}, {BOMBS} bombs of {} KiB: {grown} KiB more", bomb.len() / 1024);
        assert!(answers.iter().all(|answer| refusal(answer) == too_large), "{path}: {answers:?}");
        assert!(grown <= GROWTH_MAX_KIB, "{path}: the server grew by {grown} KiB");
        unharmed(&mut hub, before, GROWTH_MAX_KIB);
    }
    // A caller without permission is refused before any of the body is read.
    let bearer = format!("Bearer {stranger}");
    let fields = [("content-type", "application/grpc"), ("grpc-encoding", "gzip"), ("authorization", &bearer)];
    let refused = refusal(&post(&hub, DRAFT, &fields, framed(1, &gibibyte)).await);
    assert_eq!(refused, (Code::PermissionDenied, "PERMISSION_DENIED".to_owned()));
}

#[tokio::test]
async fn what_is_not_gzip_is_refused() {
    let hub = Hub::start(Database::Sqlite).await;
    for encoding in ["deflate", "zstd", "br", "policyhub", "GZIP"] {
        for path in [GET_NAMESPACE, DRAFT, HEALTH_CHECK] {
            let answer = ask(&hub, path, encoding, framed(1, &gzip(b"\x0a\x12namespaces/default"))).await;
            assert_eq!(refusal(&answer), (Code::Unimplemented, "UNIMPLEMENTED".to_owned()), "{encoding}");
            assert_eq!(answer.field("grpc-accept-encoding"), Some("gzip,identity"), "{encoding}");
        }
    }
    let whole = gzip(b"\x0a\x12namespaces/default");
    for (case, body) in [
        ("no gzip", framed(1, b"\x0a\x12namespaces/default")),
        ("cut off", framed(1, &whole[..whole.len() - 2])),
        ("two files", framed(1, &whole.repeat(2))),
        ("a message that is cut off", framed(1, &whole)[..10].to_vec()),
        ("a message and a byte", [framed(1, &whole), vec![0]].concat()),
        ("nothing", framed(1, &[])),
    ] {
        let answer = ask(&hub, GET_NAMESPACE, "gzip", body).await;
        assert_eq!(refusal(&answer), (Code::InvalidArgument, "INVALID_ARGUMENT".to_owned()), "{case}");
    }
    // The expanded message is scanned like any other.
    let name = policy("p");
    let head = [&[0x0a, u8::try_from(name.len()).expect("short")], name.as_bytes()].concat();
    let complex = gzip(&[head, [6 << 3 | 2, 0].repeat(MIB / 2)].concat());
    let answer = ask(&hub, DRAFT, "gzip", framed(1, &complex)).await;
    assert_eq!(refusal(&answer), (Code::InvalidArgument, "MESSAGE_TOO_COMPLEX".to_owned()));
}
