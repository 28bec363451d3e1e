//! A client that speaks HTTP/2 frame by frame (RFC 9113), so that it can do what no library does.
//!
//! It answers nothing by itself: it sends no ping reply, no settings acknowledgement and no window update.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::watching::DEADLINE;

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;

pub const END_STREAM: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const ACK: u8 = 0x1;

/// Error codes.
pub const NO_ERROR: u32 = 0;
pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest flow-control window.
pub const WINDOW_MAX: u32 = 0x7fff_ffff;
/// An empty gRPC message.
pub const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireFrame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl WireFrame {
    /// Returns the bytes of a frame on the wire.
    pub fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Returns the 32-bit number at an offset of the payload, such as an error code.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }
}

/// A connection on which frames are written by hand.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// Opens a connection and sends nothing.
    pub async fn silent(address: &str) -> Self {
        let address = address.trim_start_matches("http://").trim_start_matches("https://");
        let socket = TcpSocket::new_v4().expect("a socket");
        // A small receive buffer fills soon when the peer does not read.
        socket.set_recv_buffer_size(4 * 1024).expect("a buffer");
        Self { stream: socket.connect(address.parse().expect("an address")).await.expect("a connection") }
    }

    /// Opens a connection with preface and settings, and the largest window for streams.
    pub async fn connect(address: &str) -> Self {
        Self::begin(Self::silent(address).await).await
    }

    /// Opens a connection from 127.0.0.`host`, so that each number is a different peer address.
    pub async fn connect_from(host: u8, address: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).expect("an address of loopback");
        let address = address.trim_start_matches("http://").parse().expect("an address");
        Self::begin(Self { stream: socket.connect(address).await.expect("a connection") }).await
    }

    /// Opens a connection whose streams have no window until the test grants it.
    pub async fn connect_without_window(address: &str) -> Self {
        Self::begin_with(Self::silent(address).await, 0).await
    }

    async fn begin(peer: Self) -> Self {
        Self::begin_with(peer, WINDOW_MAX).await
    }

    async fn begin_with(mut peer: Self, stream_window: u32) -> Self {
        let window = [&[0, 4], stream_window.to_be_bytes().as_slice()].concat();
        let opening = [PREFACE, &WireFrame::bytes(SETTINGS, 0, 0, &window)].concat();
        // A server that refuses the connection may have closed it already.
        let _ = peer.stream.write_all(&opening).await;
        peer
    }

    /// Sends bytes and returns whether the write succeeded.
    pub async fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// Sends a frame and returns whether the write succeeded.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.say(&WireFrame::bytes(kind, flags, stream, payload)).await
    }

    /// Opens a stream with a request of one message.
    pub async fn call(&mut self, stream: u32, path: &str, token: Option<&str>, message: &[u8]) {
        let frames = [headers(stream, path, token, &[]), WireFrame::bytes(DATA, END_STREAM, stream, message)].concat();
        self.say(&frames).await;
    }

    /// Returns the next frame; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<WireFrame> {
        let mut head = [0; 9];
        let read = tokio::time::timeout(DEADLINE, self.stream.read_exact(&mut head));
        read.await.expect("a frame or an end before the deadline").ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(WireFrame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads up to the next frame of a kind; `None` when the connection ends before.
    pub async fn until(&mut self, kind: u8) -> Option<WireFrame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads all frames until the connection ends.
    pub async fn rest(&mut self) -> Vec<WireFrame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Returns the settings that the server sent.
    pub async fn settings(&mut self) -> Option<BTreeMap<u16, u32>> {
        let frame = self.until(SETTINGS).await?;
        let entry = |entry: &[u8]| {
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            (u16::from_be_bytes([entry[0], entry[1]]), value)
        };
        Some(frame.payload.chunks_exact(6).map(entry).collect())
    }

    /// Returns whether the server answers a ping.
    pub async fn is_served(&mut self) -> bool {
        if !self.send(PING, 0, 0, b"are you?").await {
            return false;
        }
        loop {
            match self.next().await {
                Some(frame) if frame.kind == PING && frame.flags == ACK && frame.payload == b"are you?" => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// Returns whether the connection is still open after `wait`, in which nothing is sent. A server that closes idle connections needs
    /// only a fraction of `wait`.
    pub async fn is_open_after(&mut self, wait: Duration) -> bool {
        let read = async {
            let mut byte = [0; 1];
            while let Ok(1..) = self.stream.read(&mut byte).await {}
        };
        tokio::time::timeout(wait, read).await.is_err()
    }
}

/// Returns the headers of a gRPC request, in one frame.
pub fn headers(stream: u32, path: &str, token: Option<&str>, further: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "policyhub")];
    let fields = fields.iter().chain(&[("content-type", "application/grpc"), ("te", "trailers")]);
    for (name, value) in fields.chain(further) {
        literal(&mut block, name, value);
    }
    if let Some(token) = token {
        literal(&mut block, "authorization", &format!("Bearer {token}"));
    }
    WireFrame::bytes(HEADERS, END_HEADERS, stream, &block)
}

/// Appends a literal field without indexing (RFC 7541 §6.2.2), not Huffman-coded.
pub fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        match u8::try_from(text.len()) {
            Ok(short @ 0..127) => block.push(short),
            _ => {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).expect("seven bits"));
            }
        }
        block.extend_from_slice(text.as_bytes());
    }
}
