//! The beginning of a connection: TLS, and the HTTP/2 preface (RFC 9113 §3.4).
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

/// What every HTTP/2 client says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
                return Err(NoGreeting { cause: Cause::Handshake, unread: Some(stream) });
            }
        },
    };
    let mut said = [0; PREFACE.len()];
    match socket.read_exact(&mut said).await {
        Ok(_) if said == *PREFACE => Ok(socket),
        Ok(_) => Err(NoGreeting { cause: Cause::Handshake, unread: None }),
        // A probe of the port, mostly.
        Err(_) => Err(NoGreeting { cause: Cause::Peer, unread: None }),
    }
}

/// A connection that never came to be.
#[derive(Debug)]
pub(super) struct NoGreeting {
    pub(super) cause: Cause,
    /// A socket with an alert on its way.
    unread: Option<TcpStream>,
}

impl NoGreeting {
    /// Waits until the client has read its alert, for a moment. A socket that is closed over what the client has said already would
    /// take it back, and the client would see a broken pipe in place of the reason.
    pub(super) async fn linger(self) {
        if let Some(stream) = self.unread {
            let _ = tokio::time::timeout(LINGER_MAX, read_to_end(stream)).await;
        }
    }
}

/// Says that nothing more comes, and reads what is on its way.
async fn read_to_end(mut stream: TcpStream) {
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
