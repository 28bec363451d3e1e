//! The beginning of a connection: TLS, and the HTTP/2 preface (RFC 9113 §3.4). Whoever speaks HTTP/1.1 is told what this is.
//!
//! hyper waits for the preface without an end, and its shutdown with it; so it gets a connection only when the preface
//! has come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Cause, LINGER_MAX};
use crate::auth::PeerCertificate;
use crate::grpc::protocol::WHAT_THIS_IS;

/// What every HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The methods of HTTP/1.1 (RFC 9110 §9.3, RFC 5789), each as it begins a request.
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"TRACE "];

/// Read at once of what a client says after its handshake failed.
const DISCARDED_BYTES: usize = 1024;

/// A connection that speaks HTTP/2, its preface taken off.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// What the client showed of itself, if anything.
    pub(super) fn peer_certificate(&self) -> Option<PeerCertificate> {
        let Self::Tls(stream) = self else { return None };
        let chain = stream.get_ref().1.peer_certificates()?;
        Some(PeerCertificate::new(chain.iter().map(|certificate| certificate.clone().into_owned()).collect()))
    }
}

/// Waits for the client to begin; the caller bounds it in time.
pub(super) async fn greet(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<Socket, NoGreeting> {
    let mut socket = match tls {
        None => Socket::Plain(stream),
        Some(config) => match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => Socket::Tls(Box::new(stream)),
            Err((error, stream)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return Err(NoGreeting { cause: Cause::Handshake, unread: Some(Socket::Plain(stream)) });
            }
        },
    };
    match beginning(&mut socket).await {
        Ok(Beginning::Http2) => Ok(socket),
        Ok(Beginning::Http1) => {
            // Whether it is read is the client's affair.
            let _ = socket.write_all(http1_answer().as_bytes()).await;
            let _ = socket.flush().await;
            Err(NoGreeting { cause: Cause::Handshake, unread: Some(socket) })
        }
        Ok(Beginning::Other) => Err(NoGreeting { cause: Cause::Handshake, unread: None }),
        // A probe of the port, mostly.
        Err(_) => Err(NoGreeting { cause: Cause::Peer, unread: None }),
    }
}

/// What a client begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Http2,
    Http1,
    Other,
}

/// Reads the preface, or as much of it as tells that it is none.
async fn beginning(socket: &mut Socket) -> io::Result<Beginning> {
    let (mut said, mut length) = ([0; PREFACE.len()], 0);
    loop {
        let room = said.get_mut(length..).unwrap_or_default();
        match socket.read(room).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
        if let Some(beginning) = beginning_of(said.get(..length).unwrap_or_default()) {
            return Ok(beginning);
        }
    }
}

/// What these bytes begin; none while it may be several things.
fn beginning_of(said: &[u8]) -> Option<Beginning> {
    if said == PREFACE {
        return Some(Beginning::Http2);
    }
    if METHODS.iter().any(|method| said.starts_with(method)) {
        return Some(Beginning::Http1);
    }
    let is_open = PREFACE.starts_with(said) || METHODS.iter().any(|method| method.starts_with(said));
    (!is_open).then_some(Beginning::Other)
}

/// The answer to HTTP/1.1 (RFC 9110 §15.5.22), and the end of the connection.
fn http1_answer() -> String {
    let length = WHAT_THIS_IS.len();
    format!(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: HTTP/2.0\r\nConnection: upgrade, close\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{WHAT_THIS_IS}"
    )
}

/// A connection that never came to be.
#[derive(Debug)]
pub(super) struct NoGreeting {
    pub(super) cause: Cause,
    /// A socket with an alert on its way, or an answer.
    unread: Option<Socket>,
}

impl NoGreeting {
    /// Waits until the client has read what was said to it, for a moment. A socket that is closed over what the client has said already would
    /// take it back, and the client would see a broken pipe in place of the reason.
    pub(super) async fn linger(self) {
        if let Some(stream) = self.unread {
            let _ = tokio::time::timeout(LINGER_MAX, read_to_end(stream)).await;
        }
    }
}

/// Says that nothing more comes, and reads what is on its way.
async fn read_to_end(mut stream: Socket) {
    let _ = stream.shutdown().await;
    let mut discarded = [0; DISCARDED_BYTES];
    while let Ok(1..) = stream.read(&mut discarded).await {}
}

/// What hyper is given to read first, in place of what was taken off.
pub(super) fn preface() -> &'static [u8] {
    PREFACE
}

macro_rules! either {
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
        either!(self, stream => stream.poll_read(context, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_known_by_its_first_bytes() {
        for length in 1..PREFACE.len() {
            assert_eq!(beginning_of(&PREFACE[..length]), None, "{length} bytes of the preface");
        }
        assert_eq!(beginning_of(PREFACE), Some(Beginning::Http2));
        for (said, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(Beginning::Http1)),
            (b"POST ", Some(Beginning::Http1)),
            (b"OPTIONS", None),
            (b"P", None),
            (b"PO", None),
            (b"get / ", Some(Beginning::Other)),
            (b"PROXY TCP4", Some(Beginning::Other)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", Some(Beginning::Other)),
            (b"SSH-2.0-", Some(Beginning::Other)),
            (&[22, 3, 1], Some(Beginning::Other)),
            (&[0; 24], Some(Beginning::Other)),
        ] {
            assert_eq!(beginning_of(said), expected, "{said:?}");
        }
    }
}
