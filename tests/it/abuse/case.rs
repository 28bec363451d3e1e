//! One case: bytes, and the permitted reactions of the server. Reading and writing run concurrently, as with any client.
//!
//! A case that has not ended within `HANG_MAX` counts as a hang and fails.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::hpack::HpackReader;
use super::wire::{ACK, GOAWAY, HEADERS, PING, PREFACE, RST_STREAM, frame, setting};
use crate::harness::frames::WireFrame;

/// No case may take longer, nor the good call after it.
pub const HANG_MAX: Duration = Duration::from_secs(5);

/// A permitted end of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedEnd {
    /// The connection ends with GOAWAY and this code.
    Goaway(u32),
    /// The connection is closed without GOAWAY.
    Closed,
    /// The stream is reset with this code; the connection stays usable.
    Reset(u32),
    /// The stream is answered with this HTTP status, which is not 200; the connection stays usable.
    Http(u16),
    /// The stream is answered with this gRPC status; the connection stays usable.
    Status(u16),
    /// The stream is not answered, or there is none; the connection stays usable.
    Nothing,
}

pub use ExpectedEnd::{Closed, Goaway, Http, Nothing, Reset, Status};

/// Error codes (RFC 9113 §7).
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL: u32 = 1;
pub const FLOW_CONTROL: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE: u32 = 6;
pub const REFUSED: u32 = 7;
pub const COMPRESSION: u32 = 9;
pub const CALM: u32 = 11;

/// What the client does after the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterSending {
    /// Sends a ping, whose answer shows that the connection is usable.
    Ping,
    /// Closes the sending half of the connection.
    Fin,
    /// Sends nothing.
    Silence,
}

/// A named case.
#[derive(Debug)]
pub struct AbuseCase {
    pub name: &'static str,
    says: Vec<u8>,
    ends: Vec<ExpectedEnd>,
    stream: u32,
    begins: bool,
    after: AfterSending,
}

/// Returns a case on a connection with preface and settings, which expects its result on stream 1.
pub fn case(name: &'static str, says: Vec<u8>, ends: impl Ends) -> AbuseCase {
    AbuseCase { name, says, ends: ends.list(), stream: 1, begins: true, after: AfterSending::Ping }
}

/// The permitted ends of a case: one, or several where the RFC leaves the choice.
pub trait Ends {
    fn list(self) -> Vec<ExpectedEnd>;
}

impl Ends for ExpectedEnd {
    fn list(self) -> Vec<ExpectedEnd> {
        vec![self]
    }
}

impl<const N: usize> Ends for [ExpectedEnd; N] {
    fn list(self) -> Vec<ExpectedEnd> {
        self.to_vec()
    }
}

impl AbuseCase {
    /// Expects the result on another stream.
    pub fn on(self, stream: u32) -> Self {
        Self { stream, ..self }
    }

    /// Sends neither preface nor settings before the bytes.
    pub fn with_no_beginning(self) -> Self {
        Self { begins: false, after: AfterSending::Silence, ..self }
    }

    /// Sends nothing after the bytes.
    pub fn then_silence(self) -> Self {
        Self { after: AfterSending::Silence, ..self }
    }

    /// Closes the sending half after the bytes.
    pub fn then_fin(self) -> Self {
        Self { after: AfterSending::Fin, ..self }
    }

    /// Plays the case; the error says what was wrong.
    pub async fn play(&self, address: &str) -> Result<(), String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("no connection: {error}"))?;
        let (mut from, mut to) = stream.into_split();
        let opening = if self.begins { [PREFACE, &setting(2, 0)].concat() } else { Vec::new() };
        let ping = if self.after == AfterSending::Ping { frame(PING, 0, 0, PROBE) } else { Vec::new() };
        let bytes = [opening.as_slice(), &self.says, &ping].concat();
        let mut seen = SeenAnswer::default();
        let write = async {
            // A server that ends the connection may close it before all bytes are sent.
            let _ = to.write_all(&bytes).await;
            if self.after == AfterSending::Fin {
                let _ = to.shutdown().await;
            }
            // Return the writing half, because dropping it would close it.
            to
        };
        let talk = async { tokio::join!(self.read(&mut from, &mut seen), write) };
        let in_time = tokio::time::timeout(HANG_MAX, talk).await.is_ok();
        let end = seen.end();
        match end {
            _ if !in_time => Err(format!("hangs: nothing of {:?} within {HANG_MAX:?}, but {seen:?}", self.ends)),
            Some(end) if self.accepts(end) => Ok(()),
            end => Err(format!("{end:?} is none of {:?}: {seen:?}", self.ends)),
        }
    }

    /// Reads until the case has ended.
    async fn read(&self, from: &mut (impl AsyncRead + Unpin), seen: &mut SeenAnswer) {
        let mut reader = HpackReader::default();
        while !self.is_over(seen) {
            let Some(frame) = next(from).await else {
                seen.closed = true;
                return;
            };
            match frame.kind {
                // A GOAWAY is followed by the end of the connection.
                GOAWAY => seen.goaway = Some(frame.number(4)),
                PING if frame.flags == ACK && frame.payload == PROBE => seen.lives = true,
                RST_STREAM if frame.stream == self.stream => seen.stream = seen.stream.or(Some(Reset(frame.number(0)))),
                HEADERS => {
                    let fields = reader.read(&frame.payload);
                    if frame.stream == self.stream {
                        seen.stream = seen.stream.or(status(&fields));
                    }
                }
                _ => {}
            }
        }
    }

    /// Returns whether the case permits this end. h2 has one code for everything malformed, and may end the connection in place of the
    /// stream (RFC 9113 §5.4.1).
    fn accepts(&self, end: ExpectedEnd) -> bool {
        let coarse =
            |meant: &ExpectedEnd| matches!(meant, Goaway(FRAME_SIZE | COMPRESSION | FLOW_CONTROL) | Reset(PROTOCOL));
        self.ends.contains(&end) || (end == Goaway(PROTOCOL) && self.ends.iter().any(coarse))
    }

    fn is_over(&self, seen: &SeenAnswer) -> bool {
        let awaits_stream =
            !self.ends.contains(&Nothing) && self.ends.iter().any(|end| matches!(end, Reset(_) | Http(_) | Status(_)));
        seen.goaway.is_none()
            && seen.lives
            && (!awaits_stream || seen.stream.is_some())
            && !self.ends.iter().all(|end| matches!(end, Goaway(_) | Closed))
    }
}

const PROBE: &[u8] = b"are you?";

#[derive(Debug, Default)]
struct SeenAnswer {
    goaway: Option<u32>,
    closed: bool,
    lives: bool,
    stream: Option<ExpectedEnd>,
}

impl SeenAnswer {
    fn end(&self) -> Option<ExpectedEnd> {
        match (self.goaway, self.closed) {
            (Some(code), true) => Some(Goaway(code)),
            (None, true) => Some(self.stream.filter(|end| !matches!(end, Reset(_))).unwrap_or(Closed)),
            (Some(_), false) => None,
            (None, false) if self.lives => Some(self.stream.unwrap_or(Nothing)),
            (None, false) => None,
        }
    }
}

/// Returns the end of a call that headers or trailers state; `None` when the call goes on.
fn status(fields: &[(String, String)]) -> Option<ExpectedEnd> {
    let of = |name: &str| fields.iter().find(|field| field.0 == name).and_then(|field| field.1.parse().ok());
    of("grpc-status").map(Status).or(of(":status").filter(|code| *code != 200).map(Http))
}

async fn next(from: &mut (impl AsyncRead + Unpin)) -> Option<WireFrame> {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    from.read_exact(&mut payload).await.ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(WireFrame { kind: head[3], flags: head[4], stream, payload })
}

/// Sends bytes and reads nothing, until all are sent, the server closes, or it accepts no more for `patience`.
pub async fn say_unread(address: &str, bytes: &[u8], patience: Duration) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut taken = 0;
    while taken < bytes.len() {
        match tokio::time::timeout(patience, say_some(&mut stream, &bytes[taken..])).await {
            Ok(Some(more)) => taken += more,
            Ok(None) | Err(_) => break,
        }
    }
    stream
}

async fn say_some(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<usize> {
    stream.write(bytes).await.ok().filter(|written| *written > 0)
}
