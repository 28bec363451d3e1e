//! Streams: their ids, their states, the order of their frames (RFC 9113 §5), and CONTINUATION (§6.10).

use super::case::{
    AbuseCase, CALM, FLOW_CONTROL, Goaway, Http, Nothing, PROTOCOL, REFUSED, Reset, STREAM_CLOSED, Status, case,
};
use super::wire::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOOD, HEADERS, PING, SETTINGS, block, body, call, cancel, frame,
    good_but, headers, open, streams,
};

/// The highest id of a client's stream.
const LAST: u32 = 0x7fff_ffff;

/// Opens a watch of a health status, of which a connection may have as many as streams.
fn open_watch(stream: u32) -> Vec<u8> {
    headers(stream, &block(&good_but(&[(":path", "/grpc.health.v1.Health/Watch")])))
}

fn ids() -> Vec<AbuseCase> {
    vec![
        case("stream of an even id", call(2, &[]), Goaway(PROTOCOL)),
        case("stream id that goes back", [call(5, &[]), call(3, &[])].concat(), Goaway(PROTOCOL)),
        case("stream with the last id there is", call(LAST, &[]), Status(0)).on(LAST),
        case("stream after the last id there is", [call(LAST, &[]), call(1, &[])].concat(), Goaway(PROTOCOL)),
        case("stream id with the reserved bit", call(1 | 1 << 31, &[]), Status(0)),
        case("more streams than there may be", streams(129, open_watch), Reset(REFUSED)).on(257),
        case("as many streams as there may be", [streams(127, open_watch), call(255, &[])].concat(), Status(0)).on(255),
    ]
}

fn states() -> Vec<AbuseCase> {
    let trailers = |flags, fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | flags, 1, &block(fields));
    let after = |frames: Vec<u8>| [open(1), frames].concat();
    let closed = [Reset(STREAM_CLOSED), Reset(PROTOCOL), Goaway(STREAM_CLOSED), Goaway(PROTOCOL)];
    vec![
        case("data on an idle stream", body(1), Goaway(PROTOCOL)),
        case("data after the end", [call(1, &[]), body(1)].concat(), closed),
        case("headers after the end", [call(1, &[]), open(1)].concat(), closed),
        case("data after a reset", after([cancel(1), body(1)].concat()), Nothing),
        case("headers after a reset", after([cancel(1), open(1)].concat()), Goaway(PROTOCOL)),
        case("trailers that do not end the stream", after(trailers(0, &[("x", "y")])), Reset(PROTOCOL)),
        case("trailers with a pseudo-header", after(trailers(END_STREAM, &[(":path", "/")])), Status(3)),
        case("trailers with an upper-case name", after(trailers(END_STREAM, &[("X", "y")])), Reset(PROTOCOL)),
        case("trailers in order", after([frame(DATA, 0, 1, &[0; 5]), trailers(END_STREAM, &[("x", "y")])].concat()), {
            Status(0)
        }),
        case(
            "data over the window of the stream",
            after(frame(DATA, 0, 1, &[0; 16_384]).repeat(80)),
            [Reset(FLOW_CONTROL), Goaway(FLOW_CONTROL), Status(8), Status(11), Status(12)],
        ),
        case("two calls of one id", [call(1, &[]), frame(PING, 0, 0, &[1; 8]), call(1, &[])].concat(), closed),
    ]
}

fn continuations() -> Vec<AbuseCase> {
    let whole = block(&GOOD);
    let begun = frame(HEADERS, 0, 1, &whole[..20]);
    let between = |frames: Vec<u8>| [begun.clone(), frames, frame(CONTINUATION, END_HEADERS, 1, &whole[20..])].concat();
    let bytewise: Vec<u8> = whole.iter().flat_map(|byte| frame(CONTINUATION, 0, 1, &[*byte])).collect();
    let end = frame(CONTINUATION, END_HEADERS, 1, &[]);
    vec![
        case("continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &whole), Goaway(PROTOCOL)),
        case("continuation of whole headers", [open(1), end.clone()].concat(), Goaway(PROTOCOL)),
        case("continuation of another stream", [begun.clone(), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(), {
            Goaway(PROTOCOL)
        }),
        case("continuation after data", [open(1), frame(DATA, 0, 1, &[]), end.clone()].concat(), Goaway(PROTOCOL)),
        case("data within headers", between(frame(DATA, 0, 1, &[0; 5])), Goaway(PROTOCOL)),
        case("headers within headers", between(open(3)), Goaway(PROTOCOL)),
        case("ping within headers", between(frame(PING, 0, 0, &[0; 8])), Goaway(PROTOCOL)),
        case("settings within headers", between(frame(SETTINGS, 0, 0, &[])), Goaway(PROTOCOL)),
        case("unknown frame within headers", between(frame(0xee, 0, 1, &[])), Goaway(PROTOCOL)),
        case("reset within headers", between(cancel(1)), Goaway(PROTOCOL)),
        case("continuation in order", [between(Vec::new()), body(1)].concat(), Status(0)),
        case("continuation of no bytes", [frame(HEADERS, 0, 1, &whole), end.clone(), body(1)].concat(), Status(0)),
        case("continuation byte by byte", [frame(HEADERS, 0, 1, &[]), bytewise, end, body(1)].concat(), Goaway(CALM)),
        case("continuation without an end", frame(HEADERS, 0, 1, &whole), super::case::Closed).then_fin(),
        case(
            "headers of 32 KiB in continuations",
            {
                let half = block(&[("x-a", &"a".repeat(16_000)), ("x-b", &"b".repeat(16_000))]);
                let all = [whole.clone(), half].concat();
                let (first, rest) = all.split_at(16_000);
                let (second, third) = rest.split_at(16_000);
                [
                    frame(HEADERS, 0, 1, first),
                    frame(CONTINUATION, 0, 1, second),
                    frame(CONTINUATION, END_HEADERS, 1, third),
                    body(1),
                ]
                .concat()
            },
            Http(431),
        ),
        case("headers and nothing after them", headers(1, &whole), Nothing),
    ]
}

/// Returns all cases.
pub fn cases() -> Vec<AbuseCase> {
    [ids(), states(), continuations()].into_iter().flatten().collect()
}
