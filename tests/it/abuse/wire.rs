//! Encodes frames and header blocks (RFC 9113, RFC 7541), valid and invalid ones alike: nothing here checks anything.

pub use crate::harness::frames::{ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS};
pub use crate::harness::frames::{PREFACE, WINDOW_MAX, WINDOW_UPDATE, WireFrame, literal};

pub const PRIORITY: u8 = 0x2;
pub const PUSH_PROMISE: u8 = 0x5;
pub const CONTINUATION: u8 = 0x9;

pub const PADDED: u8 = 0x8;
pub const WITH_PRIORITY: u8 = 0x20;

/// The header fields of a valid call: a health check, which needs no token.
pub const GOOD: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/grpc.health.v1.Health/Check"),
    (":authority", "policyhub"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

/// Returns a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    WireFrame::bytes(kind, flags, stream, payload)
}

/// Returns a frame whose head states another length.
pub fn claiming(length: u32, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns a header block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    block
}

/// Returns `GOOD` with these fields added, or in place of those of the same name; a field `-name` removes one.
pub fn good_but<'a>(fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = GOOD.to_vec();
    for (name, value) in fields {
        if let Some(gone) = name.strip_prefix('-') {
            all.retain(|(kept, _)| *kept != gone);
        } else if let Some(held) = all.iter_mut().find(|(held, _)| held == name) {
            held.1 = value;
        } else {
            // Pseudo-headers come first.
            let at = if name.starts_with(':') { 0 } else { all.len() };
            all.insert(at, (name, value));
        }
    }
    all
}

/// Returns the HEADERS of a call that stays open.
pub fn open(stream: u32) -> Vec<u8> {
    headers(stream, &block(&GOOD))
}

/// Returns a HEADERS frame with a complete block.
pub fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, block)
}

/// Returns the one empty message of a call, which ends the stream.
pub fn body(stream: u32) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, &[0; 5])
}

/// Returns a valid call, with these fields changed as by `good_but`.
pub fn call(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    [headers(stream, &block(&good_but(fields))), body(stream)].concat()
}

/// Returns a valid call with bytes put before its header block.
pub fn call_after(prefix: &[u8]) -> Vec<u8> {
    [headers(1, &[prefix, &block(&GOOD)].concat()), body(1)].concat()
}

/// Returns a valid call with bytes put after its header block.
pub fn call_before(suffix: &[u8]) -> Vec<u8> {
    [headers(1, &[&block(&GOOD), suffix].concat()), body(1)].concat()
}

/// Returns one entry of a SETTINGS frame.
pub fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// Returns RST_STREAM with CANCEL.
pub fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Returns the bytes of `of` for this many client streams.
pub fn streams(count: u32, of: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|index| of(index * 2 + 1)).collect()
}
