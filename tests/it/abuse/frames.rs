//! Frames of the connection: lengths, streams, values, padding (RFC 9113 §6).

use super::case::{
    AbuseCase, Closed, FLOW_CONTROL, FRAME_SIZE, Goaway, NO_ERROR, Nothing, PROTOCOL, Reset, Status, case,
};
use super::wire::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, GOOD, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_MAX, WINDOW_UPDATE, WITH_PRIORITY, block, body, call, cancel, claiming, frame,
    headers, open, setting,
};

/// A frame of 16 KiB and one byte, which is one byte above the limit.
const OVERSIZE: usize = 16 * 1024 + 1;

fn be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn settings() -> Vec<AbuseCase> {
    let overflow = [open(1), frame(WINDOW_UPDATE, 0, 1, &be(WINDOW_MAX - 65_535)), setting(4, 65_536)].concat();
    vec![
        case("settings on a stream", frame(SETTINGS, 0, 1, &[]), Goaway(PROTOCOL)),
        case("settings of 5 bytes", frame(SETTINGS, 0, 0, &[0; 5]), Goaway(FRAME_SIZE)),
        case("settings acknowledged with a payload", frame(SETTINGS, ACK, 0, &[0; 6]), Goaway(FRAME_SIZE)),
        case("settings acknowledged twice", frame(SETTINGS, ACK, 0, &[]).repeat(2), Goaway(PROTOCOL)),
        case("settings with no entry", frame(SETTINGS, 0, 0, &[]), Nothing),
        case("settings of a full frame", frame(SETTINGS, 0, 0, &[0xff; 16_380]), Nothing),
        case("unknown setting", setting(0xffff, u32::MAX), Nothing),
        case("header table of 4 GiB", [setting(1, u32::MAX), call(1, &[])].concat(), Status(0)),
        case("header table of nothing", [setting(1, 0), call(1, &[])].concat(), Status(0)),
        case("push of 1", setting(2, 1), Nothing),
        case("push of 2", setting(2, 2), Goaway(PROTOCOL)),
        case("no streams for the server", [setting(3, 0), call(1, &[])].concat(), Status(0)),
        case("window of 2 GiB", setting(4, WINDOW_MAX + 1), Goaway(FLOW_CONTROL)),
        case("window that overflows an open stream's", overflow, Goaway(FLOW_CONTROL)),
        case("frames of 16,383 bytes", setting(5, 16_383), Goaway(PROTOCOL)),
        case("frames of 16 MiB", setting(5, 1 << 24), Goaway(PROTOCOL)),
        case("frames of nothing", setting(5, 0), Goaway(PROTOCOL)),
        case("no header list for the client", [setting(6, 0), call(1, &[])].concat(), Status(0)),
        case("extended CONNECT of 2", setting(8, 2), Goaway(PROTOCOL)),
    ]
}

fn pings_and_goodbyes() -> Vec<AbuseCase> {
    let goodbye = |code: u32, said: &[u8]| frame(GOAWAY, 0, 0, &[&be(0), &be(code), said].concat());
    vec![
        case("ping on a stream", frame(PING, 0, 1, &[0; 8]), Goaway(PROTOCOL)),
        case("ping of 7 bytes", frame(PING, 0, 0, &[0; 7]), Goaway(FRAME_SIZE)),
        case("ping of 9 bytes", frame(PING, 0, 0, &[0; 9]), Goaway(FRAME_SIZE)),
        case("ping of nothing", frame(PING, 0, 0, &[]), Goaway(FRAME_SIZE)),
        case("ping answered unasked", frame(PING, ACK, 0, &[1; 8]), Nothing),
        case("ping with every other flag", frame(PING, 0xfe, 0, &[1; 8]), Nothing),
        case("ping with the reserved bit", frame(PING, 0, 1 << 31, &[1; 8]), Nothing),
        case("goodbye on a stream", frame(GOAWAY, 0, 1, &[0; 8]), Goaway(PROTOCOL)),
        case("goodbye of 7 bytes", frame(GOAWAY, 0, 0, &[0; 7]), Goaway(FRAME_SIZE)),
        case("goodbye in order", goodbye(0, b""), Goaway(NO_ERROR)),
        case("goodbye with an unknown code", goodbye(u32::MAX, &[b'x'; 16_000]), Goaway(NO_ERROR)),
        case(
            "goodbye twice, the later one higher",
            [goodbye(0, b""), frame(GOAWAY, 0, 0, &[be(99), be(0)].concat())].concat(),
            Goaway(PROTOCOL),
        ),
    ]
}

fn windows_and_resets() -> Vec<AbuseCase> {
    let window = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &be(by));
    let on_open = |frames: Vec<u8>| [open(1), frames].concat();
    vec![
        case("window of the connection by 0", window(0, 0), Goaway(PROTOCOL)),
        case("window update of 3 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), Goaway(FRAME_SIZE)),
        case("window update of 5 bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 5]), Goaway(FRAME_SIZE)),
        case("window of the connection over 2 GiB", window(0, WINDOW_MAX), Goaway(FLOW_CONTROL)),
        case("window update with the reserved bit", window(0, 1 << 31 | 1), Nothing),
        case("window of an idle stream", window(1, 1), Goaway(PROTOCOL)),
        case("window of a stream by 0", on_open(window(1, 0)), Goaway(PROTOCOL)),
        case("window of a stream over 2 GiB", on_open(window(1, WINDOW_MAX)), Reset(FLOW_CONTROL)),
        case("window of a stream that was reset", on_open([cancel(1), window(1, 1)].concat()), Nothing),
        case("reset of the connection", cancel(0), Goaway(PROTOCOL)),
        case("reset of 3 bytes", on_open(frame(RST_STREAM, 0, 1, &[0; 3])), Goaway(FRAME_SIZE)),
        case("reset of 5 bytes", on_open(frame(RST_STREAM, 0, 1, &[0; 5])), Goaway(FRAME_SIZE)),
        case("reset of an idle stream", cancel(1), Goaway(PROTOCOL)),
        case("reset with an unknown code", on_open(frame(RST_STREAM, 0, 1, &[0xff; 4])), Nothing),
        case("reset twice", on_open(cancel(1).repeat(2)), Nothing),
    ]
}

fn priorities_and_pushes() -> Vec<AbuseCase> {
    let priority = |stream, on: u32| frame(PRIORITY, 0, stream, &[&be(on)[..], &[1]].concat());
    let prioritised = |on: u32| [&be(on)[..], &[1], &block(&GOOD)].concat();
    let flags = END_HEADERS | WITH_PRIORITY;
    vec![
        case("priority of the connection", priority(0, 1), Goaway(PROTOCOL)),
        case("priority of 4 bytes", [open(1), frame(PRIORITY, 0, 1, &[0; 4])].concat(), Goaway(PROTOCOL)),
        case("priority of 6 bytes", [open(1), frame(PRIORITY, 0, 1, &[0; 6])].concat(), Goaway(PROTOCOL)),
        case("priority on itself", [open(1), priority(1, 1)].concat(), Nothing),
        case("priority of an idle stream", [priority(7, 3), call(9, &[])].concat(), Status(0)).on(9),
        case("headers that depend on themselves", frame(HEADERS, flags, 1, &prioritised(1)), Reset(PROTOCOL)),
        case("headers with a priority", [frame(HEADERS, flags, 1, &prioritised(0)), body(1)].concat(), Status(0)),
        case("headers too short for their priority", frame(HEADERS, flags, 1, &[0; 4]), Goaway(FRAME_SIZE)),
        case("push from a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[&be(2)[..], &block(&GOOD)].concat()), {
            Goaway(PROTOCOL)
        }),
        case("push on the connection", frame(PUSH_PROMISE, END_HEADERS, 0, &be(2)), Goaway(PROTOCOL)),
        case("push of nothing", frame(PUSH_PROMISE, END_HEADERS, 1, &[]), Goaway(PROTOCOL)),
    ]
}

fn sizes_and_kinds() -> Vec<AbuseCase> {
    vec![
        case("data of 16 KiB and a byte", [open(1), frame(DATA, 0, 1, &[0; OVERSIZE])].concat(), Goaway(FRAME_SIZE)),
        case("headers of 16 KiB and a byte", frame(HEADERS, END_HEADERS, 1, &[0; OVERSIZE]), Goaway(FRAME_SIZE)),
        case("settings of 16 KiB and more", frame(SETTINGS, 0, 0, &[0xff; OVERSIZE + 1]), Goaway(FRAME_SIZE)),
        case("unknown frame of 16 KiB and a byte", frame(0xee, 0, 0, &[0; OVERSIZE]), Goaway(FRAME_SIZE)),
        case("frame that claims 16 MiB", claiming(0x00ff_ffff, DATA, 0, 1, &[]), Goaway(FRAME_SIZE)),
        case("unknown frame", frame(0xff, 0, 0, b"?"), Nothing),
        case("unknown frame with every flag", frame(0xee, 0xff, 0, b"?"), Nothing),
        case("unknown frame on an idle stream", frame(0xee, 0, 5, b"?"), Nothing),
        case("unknown frame of a full frame", frame(0xee, 0, 0, &[0; 16_384]), Nothing),
        case(
            "ALTSVC, ORIGIN and PRIORITY_UPDATE",
            [frame(0xa, 0, 0, &[0; 4]), frame(0xc, 0, 0, &[0; 4]), frame(0x10, 0, 0, &[0; 4])].concat(),
            Nothing,
        ),
        case("frame without its end", claiming(100, PING, 0, 0, &[0; 8]).clone(), Closed).then_fin(),
        case("head without its end", vec![0, 0, 8, PING], Closed).then_fin(),
        case("data on the connection", frame(DATA, 0, 0, &[0; 5]), Goaway(PROTOCOL)),
        case("headers on the connection", headers(0, &block(&GOOD)), Goaway(PROTOCOL)),
        case("continuation on the connection", frame(CONTINUATION, END_HEADERS, 0, &[]), Goaway(PROTOCOL)),
    ]
}

fn padding() -> Vec<AbuseCase> {
    let data = |payload: &[u8]| [open(1), frame(DATA, PADDED | END_STREAM, 1, payload)].concat();
    let padded = |pad: u8, rest: &[u8]| [&[pad], rest].concat();
    let around = |flags, payload: &[u8]| frame(HEADERS, END_HEADERS | PADDED | flags, 1, payload);
    let filled = |with: u8| data(&padded(255, &[&[0; 5][..], &[with; 255]].concat()));
    vec![
        case("data padded by all its length", data(&padded(9, &[0; 8])), Goaway(PROTOCOL)),
        case("data padded by more than there is", data(&padded(255, &[0; 8])), Goaway(PROTOCOL)),
        case("data padded without a length", data(&[]), Goaway(PROTOCOL)),
        case("data of padding alone", data(&padded(8, &[0; 8])), Status(3)),
        case("data padded in order", filled(0), Status(0)),
        case("data padded with other than zeros", filled(0xff), Status(0)),
        case("headers padded by more than there is", around(0, &padded(255, &[0; 8])), Goaway(PROTOCOL)),
        case("headers padded without a length", around(0, &[]), Goaway(PROTOCOL)),
        case("headers padded and too short for a priority", around(WITH_PRIORITY, &padded(0, &[0; 4])), {
            Goaway(FRAME_SIZE)
        }),
        case(
            "headers padded in order",
            [around(0, &padded(3, &[&block(&GOOD)[..], &[0; 3]].concat())), body(1)].concat(),
            Status(0),
        ),
        case(
            "padding in a stream that has ended",
            [call(1, &[]), frame(DATA, PADDED, 1, &padded(9, &[0; 8]))].concat(),
            Goaway(PROTOCOL),
        ),
    ]
}

/// Returns all cases.
pub fn cases() -> Vec<AbuseCase> {
    [settings(), pings_and_goodbyes(), windows_and_resets(), priorities_and_pushes(), sizes_and_kinds(), padding()]
        .into_iter()
        .flatten()
        .collect()
}
