//! Just enough HTTP/2 to drive a server: requests out, DATA in, everything else answered or skipped.
//!
//! Boundary: bytes only, no sockets. Headers of answers are not decoded: a call counts as done when its stream ended after DATA, which a
//! refusal does not have. Windows are so large that none has to be updated during a run.

use anyhow::{Result, anyhow, bail};

use super::plan::BenchCall;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WINDOW_MAX_BYTES: u32 = (1 << 31) - 1;
const WINDOW_DEFAULT_BYTES: u32 = 65_535;
const HEADER_BYTES: usize = 9;
const PING_BYTES: usize = 8;
/// Number of consumed bytes after which the window of a connection is updated.
const GIVE_BACK_BYTES: u32 = 1 << 30;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const END_OR_ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// Opens a connection: preface, settings, windows.
pub fn hello(out: &mut Vec<u8>) {
    out.extend_from_slice(PREFACE);
    let mut settings = Vec::new();
    for (id, value) in [(0x2_u16, 0_u32), (0x4, WINDOW_MAX_BYTES)] {
        settings.extend_from_slice(&id.to_be_bytes());
        settings.extend_from_slice(&value.to_be_bytes());
    }
    frame(out, SETTINGS, 0, 0, &settings);
    open_window(out, WINDOW_MAX_BYTES - WINDOW_DEFAULT_BYTES);
}

/// Writes a whole request.
pub fn request(out: &mut Vec<u8>, stream: u32, call: &BenchCall, token: &str, number: usize) {
    let mut headers = vec![0x83, 0x86];
    // Literals without indexing; names by their index in the static table of RFC 7541 where they have one.
    text(&mut headers, &[0x04], &call.path);
    text(&mut headers, &[0x01], "bench");
    text(&mut headers, &[0x0f, 31 - 15], "application/grpc");
    text(&mut headers, &[0x00, 2, b't', b'e'], "trailers");
    if !token.is_empty() {
        text(&mut headers, &[0x0f, 23 - 15], &format!("Bearer {token}"));
    }
    frame(out, HEADERS, END_HEADERS, stream, &headers);
    let mut body = call.body.clone();
    if let Some(field) = call.numbered {
        let id = format!("s-{number:07}");
        body.extend_from_slice(&[field << 3 | 2, id.len() as u8]);
        body.extend_from_slice(id.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&(body.len() as u32).to_be_bytes());
    message.extend_from_slice(&body);
    let end = if call.open { 0 } else { END_OR_ACK };
    // Split messages that exceed the smallest maximum frame size: the puts of 16 KiB.
    let mut parts = message.chunks(16_384).peekable();
    while let Some(part) = parts.next() {
        frame(out, DATA, if parts.peek().is_none() { end } else { 0 }, stream, part);
    }
}

fn text(headers: &mut Vec<u8>, name: &[u8], value: &str) {
    headers.extend_from_slice(name);
    let mut length = value.len();
    if length < 127 {
        headers.push(length as u8);
    } else {
        headers.push(127);
        length -= 127;
        while length >= 128 {
            headers.push((length % 128) as u8 | 128);
            length /= 128;
        }
        headers.push(length as u8);
    }
    headers.extend_from_slice(value.as_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend((payload.len() as u32).to_be_bytes().iter().skip(1));
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn open_window(out: &mut Vec<u8>, bytes: u32) {
    frame(out, WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
}

/// An event on a connection.
#[derive(Debug)]
pub enum Http2Event<'a> {
    /// A piece of a stream.
    Data { stream: u32, bytes: &'a [u8] },
    /// A stream ended normally.
    End { stream: u32 },
}

/// Reads frames that arrive in pieces.
#[derive(Debug, Default)]
pub struct Http2Reader {
    header: [u8; HEADER_BYTES],
    have: usize,
    left: usize,
    control: Vec<u8>,
    consumed: u32,
}

impl Http2Reader {
    /// Reads bytes; `reply` gets what has to be answered.
    ///
    /// # Errors
    /// When the server reset a stream, went away, or sent what no server of ours sends.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        reply: &mut Vec<u8>,
        mut on: impl FnMut(Http2Event<'_>) -> Result<()>,
    ) -> Result<()> {
        loop {
            if self.have < HEADER_BYTES {
                let (now, later) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.have));
                for (place, byte) in self.header.iter_mut().skip(self.have).zip(now) {
                    *place = *byte;
                }
                self.have += now.len();
                bytes = later;
                if self.have < HEADER_BYTES {
                    return Ok(());
                }
                let [a, b, c, ..] = self.header;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.left));
            self.left -= now.len();
            bytes = later;
            self.payload(now, reply, &mut on)?;
            if self.left > 0 {
                return Ok(());
            }
            self.have = 0;
        }
    }

    fn payload(
        &mut self,
        now: &[u8],
        reply: &mut Vec<u8>,
        on: &mut impl FnMut(Http2Event<'_>) -> Result<()>,
    ) -> Result<()> {
        let [_, _, _, kind, flags, a, b, c, d] = self.header;
        let stream = u32::from_be_bytes([a, b, c, d]);
        let is_whole = self.left == 0;
        match kind {
            DATA => {
                if flags & PADDED != 0 {
                    bail!("the server pads");
                }
                self.consumed += now.len() as u32;
                if self.consumed > GIVE_BACK_BYTES {
                    open_window(reply, std::mem::take(&mut self.consumed));
                }
                if !now.is_empty() {
                    on(Http2Event::Data { stream, bytes: now })?;
                }
            }
            RST_STREAM | SETTINGS | PING | GOAWAY => {
                self.control.extend_from_slice(now);
                if is_whole {
                    let control = std::mem::take(&mut self.control);
                    return answer(kind, flags, stream, &control, reply);
                }
            }
            _ => {}
        }
        if is_whole && matches!(kind, DATA | HEADERS) && flags & END_OR_ACK != 0 {
            on(Http2Event::End { stream })?;
        }
        Ok(())
    }
}

fn answer(kind: u8, flags: u8, stream: u32, payload: &[u8], reply: &mut Vec<u8>) -> Result<()> {
    match kind {
        SETTINGS if flags & END_OR_ACK == 0 => frame(reply, SETTINGS, END_OR_ACK, 0, &[]),
        PING if flags & END_OR_ACK == 0 => {
            let ping = payload.get(..PING_BYTES).ok_or_else(|| anyhow!("a ping without its bytes"))?;
            frame(reply, PING, END_OR_ACK, 0, ping);
        }
        RST_STREAM => bail!("the server reset stream {stream}: {payload:?}"),
        GOAWAY => bail!("the server goes away: {}", String::from_utf8_lossy(payload.get(4..).unwrap_or_default())),
        _ => {}
    }
    Ok(())
}

/// Counts the complete gRPC messages of a stream that arrives in pieces.
#[derive(Debug, Default)]
pub struct Http2Messages {
    header: [u8; 5],
    have: usize,
    length: usize,
    left: usize,
}

impl Http2Messages {
    /// Reads a piece; `on` gets the length of each message that is now complete.
    pub fn feed(&mut self, mut bytes: &[u8], mut on: impl FnMut(usize)) {
        loop {
            if self.have < self.header.len() {
                let (now, later) = bytes.split_at(bytes.len().min(self.header.len() - self.have));
                for (place, byte) in self.header.iter_mut().skip(self.have).zip(now) {
                    *place = *byte;
                }
                self.have += now.len();
                bytes = later;
                if self.have < self.header.len() {
                    return;
                }
                let [_, length @ ..] = self.header;
                self.length = u32::from_be_bytes(length) as usize;
                self.left = self.length;
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            bytes = bytes.split_at(taken).1;
            if self.left > 0 {
                return;
            }
            self.have = 0;
            on(self.length);
        }
    }
}
