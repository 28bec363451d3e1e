//! Malformed HTTP requests (RFC 9113 §8): pseudo-headers, names, values, and fields of HTTP/1.1.

use super::case::{AbuseCase, Http, Nothing, PROTOCOL, Reset, Status, case};
use super::wire::{DATA, END_STREAM, GOOD, block, body, call, call_after, call_before, frame, good_but, headers};

const MALFORMED: super::case::ExpectedEnd = Reset(PROTOCOL);

fn pseudo_headers() -> Vec<AbuseCase> {
    let twice =
        |name: &'static str| call_after(&block(&[GOOD[..].iter().find(|it| it.0 == name).copied().expect("one")]));
    let path = |path: &'static str| call(1, &[(":path", path)]);
    let behind = |name: &'static str, gone: &'static str| {
        let mut fields = good_but(&[(gone, "")]);
        fields.push((name, GOOD.iter().find(|it| it.0 == name).expect("one").1));
        [headers(1, &block(&fields)), body(1)].concat()
    };
    vec![
        case("no :method", call(1, &[("-:method", "")]), MALFORMED),
        case("no :scheme", call(1, &[("-:scheme", "")]), MALFORMED),
        case("no :path", call(1, &[("-:path", "")]), MALFORMED),
        case("no :authority", call(1, &[("-:authority", "")]), Status(0)),
        case("no pseudo-header", headers(1, &block(&[("te", "trailers")])), MALFORMED),
        case("two :method", twice(":method"), MALFORMED),
        case("two :scheme", twice(":scheme"), MALFORMED),
        case("two :path", twice(":path"), MALFORMED),
        case("two :authority", twice(":authority"), MALFORMED),
        case(":path behind a field", behind(":path", "-:path"), MALFORMED),
        case(":method behind a field", behind(":method", "-:method"), MALFORMED),
        case("unknown pseudo-header", call(1, &[(":policy", "p")]), MALFORMED),
        case("pseudo-header of an answer", call(1, &[(":status", "200")]), MALFORMED),
        case(":protocol without its setting", call(1, &[(":protocol", "websocket")]), MALFORMED),
        case("empty :path", path(""), MALFORMED),
        case(":path without a slash", path("grpc.health.v1.Health/Check"), MALFORMED),
        case(":path of a star", path("*"), Status(16)),
        case(":path with a space", path("/a b"), MALFORMED),
        case(":path with a line end", path("/a\r\nx: y"), MALFORMED),
        case(":path with a fragment", path("/a#b"), Status(16)),
        case(":authority with a user", call(1, &[(":authority", "user:word@policyhub")]), Status(0)),
        case(":authority of garbage", call(1, &[(":authority", "[::")]), MALFORMED),
        case("unknown :scheme", call(1, &[(":scheme", "gopher")]), Status(0)),
        case("CONNECT", call(1, &[(":method", "CONNECT")]), MALFORMED),
        case("empty :method", call(1, &[(":method", "")]), MALFORMED),
        case(":method with a space", call(1, &[(":method", "PO ST")]), MALFORMED),
    ]
}

fn fields() -> Vec<AbuseCase> {
    let with = |name: &'static str, value: &'static str| call(1, &[(name, value)]);
    vec![
        case("upper-case name", with("X-Upper", "y"), MALFORMED),
        case("name with a space", with("x y", "z"), MALFORMED),
        case("name with a colon", with("x:y", "z"), MALFORMED),
        case("name with a line end", with("x\r\ny", "z"), MALFORMED),
        case("name with NUL", with("x\0", "z"), MALFORMED),
        case("name that is not ASCII", with("é", "z"), MALFORMED),
        case("value with NUL", with("x", "a\0b"), MALFORMED),
        case("value with a line end", with("x", "a\r\ny: z"), MALFORMED),
        case("value that is not ASCII", with("x", "é"), Status(0)),
        case("value with spaces around it", with("x", " y "), Status(0)),
        case("connection", with("connection", "keep-alive"), MALFORMED),
        case("keep-alive", with("keep-alive", "1"), MALFORMED),
        case("proxy-connection", with("proxy-connection", "x"), MALFORMED),
        case("transfer-encoding", with("transfer-encoding", "chunked"), MALFORMED),
        case("upgrade", with("upgrade", "h2c"), MALFORMED),
        case("te other than trailers", with("te", "gzip"), MALFORMED),
        case("host other than :authority", with("host", "elsewhere"), Status(0)),
        case("expect", with("expect", "100-continue"), Status(0)),
        case(
            "a name of 10 KiB",
            [headers(1, &[block(&GOOD), block(&[(&"x".repeat(10_000), "y")])].concat()), body(1)].concat(),
            Status(0),
        ),
        case(
            "a thousand fields",
            [headers(1, &[block(&GOOD), block(&[("x", "")]).repeat(1_000)].concat()), body(1)].concat(),
            Http(431),
        ),
        case("a hundred cookies", call_before(&block(&[("cookie", "a=b")]).repeat(100)), Status(0)),
    ]
}

fn lengths() -> Vec<AbuseCase> {
    let of = |length: &'static str| call(1, &[("content-length", length)]);
    let large = [headers(1, &block(&good_but(&[("content-length", "1000000")]))), frame(DATA, 0, 1, &[0; 5])].concat();
    vec![
        case("content-length too small", of("4"), MALFORMED),
        case("content-length too large", of("6"), MALFORMED),
        case("content-length in order", of("5"), Status(0)),
        case("content-length of 16 EiB and more", of("18446744073709551616"), MALFORMED),
        case("negative content-length", of("-1"), MALFORMED),
        case("content-length of words", of("five"), MALFORMED),
        case(
            "two content-lengths",
            {
                [
                    headers(1, &block(&[&GOOD[..], &[("content-length", "5"), ("content-length", "6")]].concat())),
                    body(1),
                ]
                .concat()
            },
            MALFORMED,
        ),
        case("content-length without its body", [large, frame(DATA, END_STREAM, 1, &[])].concat(), MALFORMED),
        case(
            "body that goes on",
            [headers(1, &block(&GOOD)), frame(DATA, 0, 1, &[0, 0, 0, 0, 9, 1])].concat(),
            Nothing,
        ),
    ]
}

/// Returns all cases.
pub fn cases() -> Vec<AbuseCase> {
    [pseudo_headers(), fields(), lengths()].into_iter().flatten().collect()
}
