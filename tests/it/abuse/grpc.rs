//! gRPC over HTTP/2: types, methods, timeouts, messages, paths and tokens that violate the specification.

use super::case::{AbuseCase, Http, Nothing, Status, case};
use super::wire::{DATA, END_STREAM, GOOD, block, body, call, frame, good_but, headers};

const OK: u16 = 0;
const INVALID_ARGUMENT: u16 = 3;
const DEADLINE_EXCEEDED: u16 = 4;
const NOT_FOUND: u16 = 5;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const UNAUTHENTICATED: u16 = 16;

/// Returns a call of one of our methods with this body.
fn ours(method: &str, token: Option<&str>, body: &[u8]) -> Vec<u8> {
    let path = format!("/policyhub.v1.{method}");
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut fields = good_but(&[("-:path", "")]);
    fields.insert(0, (":path", &path));
    fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    [headers(1, &block(&fields)), frames(body)].concat()
}

/// Returns a body in DATA frames, the last of which ends the stream.
fn frames(body: &[u8]) -> Vec<u8> {
    let mut frames: Vec<u8> = body.chunks(16_384).flat_map(|chunk| frame(DATA, 0, 1, chunk)).collect();
    frames.extend(frame(DATA, END_STREAM, 1, &[]));
    frames
}

/// Returns a message in gRPC framing.
fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(bytes.len()).expect("small").to_be_bytes()[..], bytes].concat()
}

/// A GetNamespace request for `namespaces/default`, as protobuf.
const GOOD_MESSAGE: &[u8] = b"\x0a\x12namespaces/default";

fn types_and_methods() -> Vec<AbuseCase> {
    let of = |kind: &'static str| call(1, &[("content-type", kind)]);
    vec![
        case("no content-type", call(1, &[("-content-type", "")]), Http(415)),
        case("content-type of JSON", of("application/json"), Http(415)),
        case("content-type of text", of("text/plain"), Http(415)),
        case("content-type of gRPC-Web", of("application/grpc-web"), Nothing),
        case("content-type of gRPC with JSON", of("application/grpc+json"), Http(415)),
        case("content-type of another word", of("application/grpcx"), Http(415)),
        case("GET", call(1, &[(":method", "GET")]), Status(OK)),
        case("PUT", call(1, &[(":method", "PUT")]), Status(OK)),
        case("OPTIONS", call(1, &[(":method", "OPTIONS")]), Status(OK)),
        case("no te", call(1, &[("-te", "")]), Status(OK)),
        case("https on plaintext", call(1, &[(":scheme", "https")]), Status(OK)),
        case("trace header of garbage", call(1, &[("traceparent", "00-zz-zz-zz")]), Status(OK)),
        case("binary metadata that is not base64", call(1, &[("x-bin", "!!!")]), Status(OK)),
        case("details in a request", call(1, &[("grpc-status-details-bin", "!!!"), ("grpc-status", "0")]), Status(OK)),
        case(
            "12 KiB of metadata",
            [headers(1, &block(&[&GOOD[..], &[("x-bin", &"A".repeat(12_000))]].concat())), body(1)].concat(),
            Status(OK),
        ),
    ]
}

fn timeouts() -> Vec<AbuseCase> {
    let of = |timeout: &'static str| call(1, &[("grpc-timeout", timeout)]);
    let waits = |timeout: &'static str| headers(1, &block(&good_but(&[("grpc-timeout", timeout)])));
    vec![
        case("timeout without a value", of("S"), Status(OK)),
        case("timeout without a unit", of("5"), Status(OK)),
        case("timeout of nothing", of(""), Status(OK)),
        case("timeout below 0", of("-1S"), Status(OK)),
        case("timeout of nine digits", of("999999999S"), Status(OK)),
        case("timeout of a fraction", of("1.5S"), Status(OK)),
        case("timeout of an unknown unit", of("1d"), Status(OK)),
        case("timeout of words", of("soon"), Status(OK)),
        case("timeout with a space", of("1 S"), Status(OK)),
        case("timeout of 20 digits", of("99999999999999999999n"), Status(OK)),
        case("timeout that is not ASCII", of("1é"), Status(OK)),
        case("timeout of 11,415 years", of("99999999H"), Status(OK)),
        case("timeout of 0", waits("0S"), Status(DEADLINE_EXCEEDED)),
        case("timeout of a nanosecond", waits("1n"), Status(DEADLINE_EXCEEDED)),
        case(
            "two timeouts",
            {
                let fields = [&GOOD[..], &[("grpc-timeout", "1H"), ("grpc-timeout", "1n")]].concat();
                [headers(1, &block(&fields)), body(1)].concat()
            },
            [Status(OK), Status(DEADLINE_EXCEEDED)],
        ),
    ]
}

/// Returns the cases of wrong framing. Each is INVALID_ARGUMENT, because it is the caller's mistake.
fn framing(token: &str) -> Vec<AbuseCase> {
    let get = |body: &[u8]| ours("AdminService/GetNamespace", Some(token), body);
    let encoded = |encoding: &'static str, flag: u8| {
        let bearer = format!("Bearer {token}");
        let mut fields = good_but(&[(":path", "/policyhub.v1.AdminService/GetNamespace")]);
        fields.extend([("grpc-encoding", encoding), ("authorization", &bearer)]);
        [headers(1, &block(&fields)), frame(DATA, END_STREAM, 1, &[flag, 0, 0, 0, 0])].concat()
    };
    let bad = Status(INVALID_ARGUMENT);
    vec![
        case("message in order", get(&message(GOOD_MESSAGE)), Status(OK)),
        case("no message", get(&[]), bad),
        case(
            "no body",
            {
                let whole = ours("AdminService/GetNamespace", Some(token), &[]);
                // END_STREAM on the headers, and no data.
                let head = 9 + usize::from(u16::from_be_bytes([whole[1], whole[2]]));
                let mut only = whole[..head].to_vec();
                only[4] |= END_STREAM;
                only
            },
            bad,
        ),
        case("three bytes of a message's head", get(&[0; 3]), bad),
        case("message cut off", get(&message(GOOD_MESSAGE)[..10]), bad),
        case("two messages", get(&message(GOOD_MESSAGE).repeat(2)), Status(OK)),
        case("a message and a byte", get(&[message(GOOD_MESSAGE), vec![0]].concat()), Status(INVALID_ARGUMENT)),
        case("compressed without an encoding", get(&[1, 0, 0, 0, 0]), bad),
        case("compression flag of 2", get(&[2, 0, 0, 0, 0]), bad),
        case("compression flag of 255", get(&[255, 0, 0, 0, 0]), bad),
        case("compressed by gzip, and nothing", encoded("gzip", 1), bad),
        case("compressed by zstd", encoded("zstd", 1), Status(UNIMPLEMENTED)),
        case("compressed by a word", encoded("policyhub", 1), Status(UNIMPLEMENTED)),
        case("compressed by identity", encoded("identity", 1), bad),
        case("encoding of a word, not used", encoded("policyhub", 0), Status(UNIMPLEMENTED)),
        case("message that claims 4 GiB", get(&[0, 0xff, 0xff, 0xff, 0xff, 0]), Status(RESOURCE_EXHAUSTED)),
        case("message that claims 65 KiB", get(&[0, 0, 1, 4, 1, 0]), Status(RESOURCE_EXHAUSTED)),
        case("message that claims 60 KiB", get(&[0, 0, 0, 0xf0, 0, 0]), bad),
        case(
            "draft that claims 4 GiB",
            ours("PolicyService/Draft", Some(token), &[0, 0xff, 0xff, 0xff, 0xff, 0]),
            Status(RESOURCE_EXHAUSTED),
        ),
        case("watch without a message", ours("SyncService/WatchActive", Some(token), &[]), bad),
        case(
            "watch of two messages",
            ours("SyncService/WatchActive", Some(token), &message(b"\x0a\x11\x0a\x0fnamespaces/none").repeat(2)),
            Status(NOT_FOUND),
        ),
        case(
            "watch of 30,000 nothings",
            ours("SyncService/WatchActive", Some(token), &message(&[0x0a, 0].repeat(30_000))),
            bad,
        ),
    ]
}

/// Returns cases of messages that are not protobuf, or not of our types.
fn messages(token: &str) -> Vec<AbuseCase> {
    let get = |bytes: &[u8]| ours("AdminService/GetNamespace", Some(token), &message(bytes));
    let activate = |bytes: &[u8]| ours("PolicyService/Activate", Some(token), &message(bytes));
    let bad = Status(INVALID_ARGUMENT);
    let nested = |depth: usize| {
        // Groups of an unknown field, nested in each other.
        [vec![0x7b; depth], vec![0x7c; depth]].concat()
    };
    vec![
        case("message of garbage", get(&[0xff; 100]), bad),
        case("wire type 6", get(&[0x0e, 0]), bad),
        case("wire type 7", get(&[0x0f, 0]), bad),
        case("number for a text", get(&[0x08, 1]), bad),
        case("text for a number", activate(&[0x0a, 1, b'x', 0x22, 1, b'x']), bad),
        case("field 0", get(&[0x00, 0x00]), bad),
        case("field over 2^29", get(&[0xff, 0xff, 0xff, 0xff, 0x7f, 0]), bad),
        case("varint of 11 bytes", get(&[0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), bad),
        case("varint without its end", get(&[0x78, 0xff]), bad),
        case("length over the message", get(&[0x0a, 100, b'x']), bad),
        case("length of 16 EiB", get(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), bad),
        case("text that is not UTF-8", get(&[0x0a, 2, 0xff, 0xfe]), bad),
        case("group without an end", get(&[0x7b]), bad),
        case("end of no group", get(&[0x7c]), bad),
        case("group that ends as another", get(&[0x7b, 0x74]), bad),
        case("groups 50 deep", get(&[GOOD_MESSAGE, &nested(50)].concat()), Status(OK)),
        case("groups 30,000 deep", get(&nested(30_000)), bad),
        case("unknown fields", get(&[GOOD_MESSAGE, &[0x7a, 3, b'a', b'b', b'c', 0x78, 1]].concat()), Status(OK)),
        case("one field 1,000 times", get(&GOOD_MESSAGE.repeat(1_000)), Status(OK)),
        case("30,000 empty targets", activate(&[0x12, 0].repeat(30_000)), Status(INVALID_ARGUMENT)),
        case("message of nothing", get(&[]), bad),
    ]
}

fn paths(token: &str) -> Vec<AbuseCase> {
    let at = |path: &str, token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut fields = good_but(&[("-:path", "")]);
        fields.insert(0, (":path", path));
        fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        [headers(1, &block(&fields)), body(1)].concat()
    };
    let known = |path: &str| at(path, Some(token));
    let none = Status(UNIMPLEMENTED);
    vec![
        case("path of a slash", known("/"), none),
        case("path of slashes", known("////"), none),
        case("unknown service", known("/policyhub.v1.NoService/Get"), none),
        case("unknown method", known("/policyhub.v1.AdminService/NoMethod"), none),
        case("method in lower case", known("/policyhub.v1.AdminService/getnamespace"), none),
        case("method with a slash behind it", known("/policyhub.v1.AdminService/GetNamespace/"), none),
        case("service without a method", known("/policyhub.v1.AdminService"), none),
        case("path that climbs", known("/policyhub.v1.AdminService/../../etc/passwd"), none),
        case("path that climbs in percents", known("/%2e%2e/%2e%2e/etc/passwd"), none),
        case("method in percents", known("/policyhub.v1.AdminService/%47etNamespace"), none),
        case("path with a query", known("/policyhub.v1.AdminService/GetNamespace?x=y"), Status(INVALID_ARGUMENT)),
        case("path of 12 KiB", known(&format!("/{}", "x".repeat(12_000))), none),
        case("unknown service without a token", at("/policyhub.v1.NoService/Get", None), Status(UNAUTHENTICATED)),
        case("unknown method without a token", at("/policyhub.v1.AdminService/No", None), Status(UNAUTHENTICATED)),
        case("path that begins as one without a token", at("/grpc.health.v1.../x", None), none),
        case(
            "path that climbs from one without a token",
            at("/grpc.health.v1./../policyhub.v1.AdminService/GetNamespace", None),
            none,
        ),
        case(
            "reflection of garbage",
            {
                let fields = good_but(&[(":path", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")]);
                [headers(1, &block(&fields)), frames(&message(&[0xff; 50]))].concat()
            },
            Nothing,
        ),
    ]
}

fn tokens(token: &str) -> Vec<AbuseCase> {
    let with = |values: &[String]| {
        let mut fields = good_but(&[(":path", "/policyhub.v1.AdminService/GetNamespace")]);
        fields.extend(values.iter().map(|value| ("authorization", value.as_str())));
        [headers(1, &block(&fields)), frames(&message(GOOD_MESSAGE))].concat()
    };
    let one = |value: String| with(&[value]);
    let no = Status(UNAUTHENTICATED);
    vec![
        case("no token", with(&[]), no),
        case("token in order", one(format!("Bearer {token}")), Status(OK)),
        case("scheme in lower case", one(format!("bearer {token}")), Status(OK)),
        case("empty authorization", one(String::new()), no),
        case("scheme and no token", one("Bearer ".to_owned()), no),
        case("another scheme", one(format!("Basic {token}")), no),
        case("token without a scheme", one(token.to_owned()), no),
        case("token with two spaces", one(format!("Bearer  {token}")), no),
        case("token and a space", one(format!("Bearer {token} x")), no),
        case("token twice", with(&[format!("Bearer {token}"), format!("Bearer {token}")]), no),
        case("token and garbage", with(&[format!("Bearer {token}"), "x".to_owned()]), no),
        case("token of dots", one("Bearer ..".to_owned()), no),
        case("token of a thousand dots", one(format!("Bearer {}", ".".repeat(1_000))), no),
        case("token of 9 KiB", one(format!("Bearer {}", "x".repeat(9_000))), no),
        case("token of 15 KiB", one(format!("Bearer {}", "x.".repeat(7_500))), Status(UNAUTHENTICATED)),
        case("token over the headers", one(format!("Bearer {}", "x".repeat(16_100))), Http(431)),
        case("token that is not ASCII", one("Bearer é.é.é".to_owned()), no),
        case("token with its last letter gone", one(format!("Bearer {}", &token[..token.len() - 1])), no),
        case("token and garbage for a message", ours("AdminService/GetNamespace", None, &message(&[0xff; 100])), no),
        case("no token, and 4 GiB", ours("PolicyService/Draft", None, &[0, 0xff, 0xff, 0xff, 0xff, 0]), no),
    ]
}

/// Returns all cases, with a valid token.
pub fn cases(token: &str) -> Vec<AbuseCase> {
    [types_and_methods(), timeouts(), framing(token), messages(token), paths(token), tokens(token)]
        .into_iter()
        .flatten()
        .collect()
}
