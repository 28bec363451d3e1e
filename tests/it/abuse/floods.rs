//! Floods: many repetitions of something that is allowed a few times. The server either handles them or ends the connection.

use super::case::{
    AbuseCase, CALM, Closed, FLOW_CONTROL, Goaway, Http, Nothing, PROTOCOL, Reset, STREAM_CLOSED, Status, case,
};
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, GOOD, HEADERS, PING, PRIORITY, SETTINGS, WINDOW_MAX,
    WINDOW_UPDATE, block, body, call, cancel, frame, headers, open, setting, streams,
};

/// Many times more than any client sends.
const MANY: usize = 10_000;

/// Streams that the client itself resets at once (CVE-2023-44487).
fn rapid_resets() -> Vec<AbuseCase> {
    vec![
        case("reset of each stream at once", streams(1_000, |id| [open(id), cancel(id)].concat()), Goaway(CALM)),
        case("reset of each call at once", streams(1_000, |id| [call(id, &[]), cancel(id)].concat()), Goaway(CALM)),
        case(
            "reset of each stream after some data",
            streams(1_000, |id| [open(id), frame(DATA, 0, id, &[0; 5]), cancel(id)].concat()),
            Goaway(CALM),
        ),
        case("resets of one stream", [open(1), cancel(1).repeat(MANY)].concat(), [Nothing, Goaway(CALM)]),
    ]
}

/// Streams that the client makes the server reset (CVE-2025-8671), each in another way.
fn made_to_reset() -> Vec<AbuseCase> {
    let each = |frames: &dyn Fn(u32) -> Vec<u8>| streams(1_000, |id| [open(id), frames(id)].concat());
    let ended = |frames: &dyn Fn(u32) -> Vec<u8>| streams(1_000, |id| [call(id, &[]), frames(id)].concat());
    let ends = [Goaway(CALM), Goaway(PROTOCOL), Goaway(STREAM_CLOSED), Goaway(FLOW_CONTROL)];
    let window = |by: u32| move |id| frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes());
    vec![
        case("window over 2 GiB on each stream", each(&window(WINDOW_MAX)), ends),
        case("window by 0 on each stream", each(&window(0)), ends),
        case("data after the end of each stream", ended(&|id| body(id)), ends),
        case("headers after the end of each stream", ended(&|id| open(id)), ends),
        case("trailers that do not end each stream", each(&|id| open(id)), ends),
        case("malformed headers on each stream", streams(1_000, |id| headers(id, &block(&[("X", "y")]))), ends),
        case(
            "content-length too small on each stream",
            streams(1_000, |id| call(id, &[("content-length", "4")])),
            ends,
        ),
    ]
}

fn frames_of_nothing() -> Vec<AbuseCase> {
    let window = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    let data = |flags, payload: &[u8]| [open(1), frame(DATA, flags, 1, payload).repeat(MANY), body(1)].concat();
    let priority = frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]);
    vec![
        case("settings, many times", setting(4, 65_535).repeat(MANY), [Nothing, Goaway(CALM), Goaway(PROTOCOL)]),
        case(
            "settings of a table that grows and shrinks",
            [setting(1, 0), setting(1, 65_536)].concat().repeat(MANY / 2),
            [Nothing, Goaway(CALM)],
        ),
        case(
            "settings of windows that grow and shrink under streams",
            [streams(50, open), [setting(4, 0), setting(4, 65_536)].concat().repeat(500)].concat(),
            [Nothing, Goaway(CALM), Goaway(FLOW_CONTROL)],
        ),
        case("pings, many times", frame(PING, 0, 0, &[1; 8]).repeat(MANY), [Nothing, Goaway(CALM)]),
        case("answers to no ping, many times", frame(PING, ACK, 0, &[1; 8]).repeat(MANY), [Nothing, Goaway(CALM)]),
        case("priorities, many times", priority.repeat(MANY), [Nothing, Goaway(CALM)]),
        case("window updates by 1, many times", window.repeat(MANY), [Nothing, Goaway(CALM)]),
        case("unknown frames, many times", frame(0xee, 0, 0, &[]).repeat(MANY), [Nothing, Goaway(CALM)]),
        case("goodbyes, many times", frame(GOAWAY, 0, 0, &[0; 8]).repeat(MANY), [Closed, Goaway(0), Goaway(CALM)]),
        case("data of no bytes, many times", data(0, &[]), [Status(0), Goaway(CALM)]),
        case(
            "data of padding alone, many times",
            data(8, &[3, 0, 0, 0]),
            [Status(0), Goaway(CALM), Reset(FLOW_CONTROL)],
        ),
        case(
            "data of no bytes on a stream that was reset",
            [open(1), cancel(1), frame(DATA, 0, 1, &[]).repeat(MANY)].concat(),
            [Nothing, Goaway(CALM), Goaway(STREAM_CLOSED)],
        ),
        case("settings acknowledged, many times", frame(SETTINGS, ACK, 0, &[]).repeat(MANY), Goaway(PROTOCOL)),
    ]
}

fn headers_and_more() -> Vec<AbuseCase> {
    let whole = block(&GOOD);
    let more = |payload: &[u8], times: usize| {
        [frame(HEADERS, 0, 1, &whole), frame(CONTINUATION, 0, 1, payload).repeat(times)].concat()
    };
    let field = block(&[("x", &"y".repeat(8_000))]);
    vec![
        case("continuations of no bytes, many times", more(&[], MANY), [Goaway(CALM), Goaway(PROTOCOL)]),
        case("continuations of a byte, many times", more(&[0x90], MANY), [Goaway(CALM), Goaway(PROTOCOL)]),
        case("continuations of 8 KiB, many times", more(&field, 500), [Goaway(CALM), Goaway(PROTOCOL)]),
        case(
            "continuations of an unfinished value",
            {
                let value = [&[0x00, 0x01, b'x', 0x7f, 0x80, 0x80, 0x80, 0x01][..], &[b'y'; 8_000]].concat();
                [
                    frame(HEADERS, 0, 1, &[&whole[..], &value].concat()),
                    frame(CONTINUATION, 0, 1, &[b'y'; 16_000]).repeat(500),
                ]
                .concat()
            },
            [Goaway(CALM), Goaway(PROTOCOL), Goaway(9)],
        ),
        case("calls, one after another", streams(1_000, |id| call(id, &[])), [Status(0), Goaway(CALM)]),
        case("streams over what there may be, many times", streams(2_000, open), [Nothing, Goaway(CALM)]).on(0),
        case(
            "header lists over what is taken, many times",
            {
                let large = [whole.clone(), vec![0x90; 4_000]].concat();
                streams(500, |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &large))
            },
            [Http(431), Goaway(CALM)],
        ),
        case(
            "calls without a body, many times",
            streams(1_000, |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &whole)),
            [Status(3), Goaway(CALM)],
        ),
    ]
}

/// Returns all cases.
pub fn cases() -> Vec<AbuseCase> {
    [rapid_resets(), made_to_reset(), frames_of_nothing(), headers_and_more()].into_iter().flatten().collect()
}

/// Returns the names and bytes of what is sent while nothing is read.
pub fn unread() -> Vec<(&'static str, Vec<u8>)> {
    // So much that the answers exceed all buffers between the two.
    const MIB: usize = 1024 * 1024;
    let much = |frame: Vec<u8>| frame.repeat(16 * MIB / frame.len());
    vec![
        ("pings", much(frame(PING, 0, 0, &[1; 8]))),
        ("settings", much(setting(4, 65_535))),
        ("streams over what there may be", streams(200_000, |id| headers(id, &[0x83, 0x86, 0x84, 0x81]))),
        ("calls", streams(40_000, |id| call(id, &[]))),
    ]
}
