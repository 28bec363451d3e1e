//! The start of a connection: TLS, and the HTTP/2 preface (RFC 9113 §3.4). A client that speaks HTTP/1.1 gets an answer that describes
//! this port.
//!
//! hyper waits for the preface without a limit, and its shutdown waits with it. So hyper gets a connection only after the preface has been
//! read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::close_reason::CloseReason;
use super::protocol::PORT_DESCRIPTION;

/// The first bytes that every HTTP/2 client sends.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The methods of HTTP/1.1 (RFC 9110 §9.3, RFC 5789), as the first bytes of a request.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE "];

/// How long a client may take to read the last bytes and to close its side. Closing a socket with unread input discards what
/// was sent (RFC 1122 §4.2.2.13).
pub(super) const HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many bytes of input are discarded at once meanwhile.
const DISCARD_BUFFER_BYTES: usize = 4 * 1024;

/// A socket that speaks HTTP/2, after its preface.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Returns the certificates that the client showed, leaf first, if any.
    pub(super) fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        let Self::Tls(stream) = self else { return None };
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    }
}

/// Waits for TLS and the preface; the caller sets the timeout.
pub(super) async fn accept_handshake(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> Result<Socket, HandshakeFailure> {
    let mut socket = match tls {
        None => Socket::Plain(stream),
        Some(config) => match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => Socket::Tls(Box::new(stream)),
            Err((error, stream)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return Err(HandshakeFailure { reason: CloseReason::Handshake, unread: Some(Socket::Plain(stream)) });
            }
        },
    };
    match read_preface(&mut socket).await {
        Ok(ClientProtocol::Http2) => Ok(socket),
        Ok(ClientProtocol::Http1) => {
            // Whether the client reads the answer does not matter to the server.
            let _ = socket.write_all(http1_answer().as_bytes()).await;
            let _ = socket.flush().await;
            Err(HandshakeFailure { reason: CloseReason::Handshake, unread: Some(socket) })
        }
        Ok(ClientProtocol::Unknown) => Err(HandshakeFailure { reason: CloseReason::Handshake, unread: None }),
        // Mostly a TCP probe of the port.
        Err(_) => Err(HandshakeFailure { reason: CloseReason::Peer, unread: None }),
    }
}

/// The protocol that a client speaks, as its first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientProtocol {
    Http2,
    Http1,
    Unknown,
}

/// Reads the preface, or enough to see that it is none.
async fn read_preface(socket: &mut Socket) -> io::Result<ClientProtocol> {
    let (mut received, mut length) = ([0; PREFACE.len()], 0);
    loop {
        let free = received.get_mut(length..).unwrap_or_default();
        match socket.read(free).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => length += count,
        }
        if let Some(protocol) = detect_protocol(received.get(..length).unwrap_or_default()) {
            return Ok(protocol);
        }
    }
}

/// Returns the protocol that begins with these bytes; none while several are possible.
fn detect_protocol(received: &[u8]) -> Option<ClientProtocol> {
    if received == PREFACE {
        return Some(ClientProtocol::Http2);
    }
    if METHODS.iter().any(|method| received.starts_with(method)) {
        return Some(ClientProtocol::Http1);
    }
    let is_open = PREFACE.starts_with(received) || METHODS.iter().any(|method| method.starts_with(received));
    (!is_open).then_some(ClientProtocol::Unknown)
}

/// Returns the answer to HTTP/1.1 (RFC 9110 §15.5.22); it ends the connection.
fn http1_answer() -> String {
    let length = PORT_DESCRIPTION.len();
    format!(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: HTTP/2.0\r\nConnection: upgrade, close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{PORT_DESCRIPTION}"
    )
}

/// A handshake that failed.
#[derive(Debug)]
pub(super) struct HandshakeFailure {
    pub(super) reason: CloseReason,
    /// A socket with an alert or an answer that the client has not read.
    unread: Option<Socket>,
}

impl HandshakeFailure {
    /// Waits briefly for the client to read why its handshake failed. Otherwise it would see a broken pipe and no reason.
    pub(super) async fn close(self) {
        if let Some(socket) = self.unread {
            let _ = tokio::time::timeout(HALF_CLOSE_TIMEOUT, half_close(socket)).await;
        }
    }
}

/// Closes the write side, and discards input until the client closes its side.
pub(super) async fn half_close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = stream.shutdown().await;
    let mut discarded = vec![0; DISCARD_BUFFER_BYTES];
    while let Ok(1..) = stream.read(&mut discarded).await {}
}

/// Returns the preface, which hyper must read before the rest of the socket.
pub(super) fn preface() -> &'static [u8] {
    PREFACE
}

macro_rules! delegate {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Socket::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(context, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_known_by_its_first_bytes() {
        for length in 1..PREFACE.len() {
            assert_eq!(detect_protocol(&PREFACE[..length]), None, "{length} bytes of the preface");
        }
        assert_eq!(detect_protocol(PREFACE), Some(ClientProtocol::Http2));
        for (received, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(ClientProtocol::Http1)),
            (b"POST ", Some(ClientProtocol::Http1)),
            (b"OPTIONS", None),
            (b"P", None),
            (b"PO", None),
            (b"get / ", Some(ClientProtocol::Unknown)),
            (b"PROXY TCP4", Some(ClientProtocol::Unknown)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", Some(ClientProtocol::Unknown)),
            (b"SSH-2.0-", Some(ClientProtocol::Unknown)),
            (&[22, 3, 1], Some(ClientProtocol::Unknown)),
            (&[0; 24], Some(ClientProtocol::Unknown)),
        ] {
            assert_eq!(detect_protocol(received), expected, "{received:?}");
        }
    }
}
