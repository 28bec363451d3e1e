//! One connection from its first byte to its last.
//!
//! It ends when its client ends it, when it is dead, when it is too old, or when the server drains. In the last two its
//! streams are told first, HTTP/2 says GOAWAY once, and what was said is given time to be read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::ServiceExt as _;
use tower::util::{BoxCloneSyncService, Oneshot};

use super::executor::{Executor, Streams};
use super::greeting::{Socket, greet, preface};
use super::io::{Loss, SharedIo};
use super::peers::Admitted;
use super::tls::Tls;
use crate::auth::PeerCertificate;
use crate::grpc::jitter::fraction;
use crate::grpc::{Connection, Ending, STREAMS_PER_CONNECTION_MAX};
use crate::server::config::ConnectionsConfig;

/// Every call, through all its layers.
pub type GrpcService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Resets a connection may cause and have pending before it is closed (RUSTSEC-2024-0003, RUSTSEC-2023-0034). tonic's
/// default for the first is no limit.
const LOCAL_RESETS_MAX: usize = 64;
const PENDING_RESETS_MAX: usize = 20;
/// Largest header list of a request: a token and trace headers fit.
const HEADER_LIST_MAX_BYTES: u32 = 16 * 1024;
/// What a client may send ahead of its being read: requests are small, and each stream's is memory.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// From GOAWAY for its age to the hard end of a connection; less for one that was not to get that old.
const AGE_GRACE_MAX: Duration = Duration::from_secs(30);
/// How far the age of a connection is from the one that is set, so that those made together don't end together.
const AGE_JITTER: f64 = 0.1;
/// How long a client may take to read the last words. A socket closed over unread bytes would take them back (RFC 1122
/// §4.2.2.13).
pub(super) const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BUFFER_BYTES: usize = 4 * 1024;

/// Why a connection ended, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its client ended it, or is gone.
    Peer,
    /// Its client broke the rules of HTTP/2.
    Protocol,
    /// No TLS or no HTTP/2.
    Handshake,
    /// The beginning took too long.
    HandshakeTimeout,
    /// Nothing came back any more.
    Keepalive,
    /// It was old.
    Age,
    /// The server stops.
    Draining,
    /// There are as many as there may be.
    Limit,
}

impl Cause {
    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Protocol => "protocol",
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Keepalive => "keepalive",
            Self::Age => "age",
            Self::Draining => "draining",
            Self::Limit => "limit",
        }
    }
}

impl From<Ending> for Cause {
    fn from(why: Ending) -> Self {
        match why {
            Ending::Draining => Self::Draining,
            Ending::Age => Self::Age,
        }
    }
}

/// What connections are served with.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) service: GrpcService,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: ConnectionsConfig,
    pub(super) tracker: TaskTracker,
    /// Tells connections to end.
    pub(super) draining: CancellationToken,
    /// Tells connections that have not ended that the time to do so is over.
    pub(super) cut: CancellationToken,
}

impl Server {
    /// Serves one connection until it has ended, or others need its room.
    pub(super) async fn serve(self, stream: TcpStream, peer: Option<SocketAddr>, admitted: &Admitted) -> Cause {
        let connection = Connection::from(peer);
        let ended = admitted.ended();
        connection.hold_until_identified(Box::new(admitted.unidentified()));
        let cause = ended.run_until_cancelled(self.serve_admitted(stream, connection)).await;
        cause.unwrap_or(Cause::Limit)
    }

    async fn serve_admitted(self, stream: TcpStream, connection: Connection) -> Cause {
        // Boxed, so that the state of a TLS handshake does not stay with the connection.
        let greeting = Box::pin(greet(stream, self.tls.as_ref().map(|tls| tls.current())));
        let greeting = tokio::time::timeout(self.limits.handshake_timeout, greeting);
        let socket = tokio::select! {
            () = self.draining.cancelled() => return Cause::Draining,
            greeted = greeting => match greeted {
                Ok(Ok(socket)) => socket,
                Ok(Err(none)) => {
                    let cause = none.cause;
                    none.linger().await;
                    return cause;
                }
                Err(_) => return Cause::HandshakeTimeout,
            },
        };
        let certificate = socket.peer_certificate().map(Arc::new);
        // A peer whose pings can't even be sent is as dead as one that does not answer them.
        let patience = self.limits.keepalive_interval + self.limits.keepalive_timeout;
        let io = SharedIo::new(socket, preface(), connection.clone(), patience);
        let cause = self.talk(io.clone(), connection, certificate).await;
        if cause != Cause::Keepalive {
            let _ = tokio::time::timeout(LINGER_MAX, linger(io)).await;
        }
        cause
    }

    /// HTTP/2 from the preface to the last frame. When it returns, the streams are gone.
    async fn talk(
        &self,
        io: SharedIo<Socket>,
        connection: Connection,
        certificate: Option<Arc<PeerCertificate>>,
    ) -> Cause {
        let streams = Streams::new(self.tracker.clone(), self.limits.stuck_reader_timeout);
        let calls = Calls { service: self.service.clone(), connection: connection.clone(), certificate };
        let http2 = self.http2(streams.executor()).serve_connection(TokioIo::new(io.clone()), calls);
        let mut http2 = Http2 { http2: Box::pin(http2), io, executor: streams.executor() };
        let age = jittered(self.limits.max_age, fraction());
        let why = tokio::select! {
            cause = http2.ended() => return cause,
            () = self.draining.cancelled() => Ending::Draining,
            () = tokio::time::sleep(age) => Ending::Age,
            () = stay_unidentified(&connection, self.limits.unidentified_age) => Ending::Age,
        };
        connection.end(why);
        http2.http2.as_mut().graceful_shutdown();
        let grace = match why {
            // The drain has a deadline of its own.
            Ending::Draining => Duration::MAX,
            Ending::Age => self.limits.max_age.min(AGE_GRACE_MAX),
        };
        tokio::select! {
            _ = tokio::time::timeout(grace, http2.ended()) => {}
            () = self.cut.cancelled() => {}
        }
        why.into()
    }

    fn http2(&self, executor: Executor) -> http2::Builder<Executor> {
        let mut builder = http2::Builder::new(executor);
        builder
            .timer(TokioTimer::new())
            // The default of tonic is no limit.
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX as u32)
            .max_local_error_reset_streams(LOCAL_RESETS_MAX)
            .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
            .max_header_list_size(HEADER_LIST_MAX_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .keep_alive_interval(self.limits.keepalive_interval)
            .keep_alive_timeout(self.limits.keepalive_timeout);
        builder
    }
}

type Io = TokioIo<SharedIo<Socket>>;

/// hyper's connection, and the two things it leaves to us after each of its turns.
struct Http2 {
    http2: Pin<Box<http2::Connection<Io, Calls, Executor>>>,
    io: SharedIo<Socket>,
    executor: Executor,
}

impl Http2 {
    async fn ended(&mut self) -> Cause {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Cause> {
        let polled = self.http2.as_mut().poll(context);
        self.executor.forget_ended();
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(Cause::Peer),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a connection broke");
                Poll::Ready(match self.io.loss() {
                    Some(Loss::Stalled) => Cause::Keepalive,
                    Some(Loss::Broken) => Cause::Peer,
                    None if error.is_timeout() => Cause::Keepalive,
                    None => Cause::Protocol,
                })
            }
            Poll::Pending => match self.io.poll_gathered(context) {
                Poll::Ready(Err(_)) if self.io.loss() == Some(Loss::Stalled) => Poll::Ready(Cause::Keepalive),
                Poll::Ready(Err(_)) => Poll::Ready(Cause::Peer),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// The service of one connection: each request learns which one it came by, and with whose certificate.
#[derive(Clone)]
struct Calls {
    service: GrpcService,
    connection: Connection,
    certificate: Option<Arc<PeerCertificate>>,
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Oneshot<GrpcService, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.connection.clone());
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        self.service.clone().oneshot(request)
    }
}

/// Says that nothing more comes, and reads on until the client has nothing more to say either.
async fn linger(mut io: SharedIo<Socket>) {
    let _ = io.shutdown().await;
    let mut discarded = vec![0; LINGER_BUFFER_BYTES];
    while let Ok(1..) = io.read(&mut discarded).await {}
}

/// Waits until a connection has been there for too long without a credential; for ever, when it showed one in time.
async fn stay_unidentified(connection: &Connection, age: Duration) {
    tokio::time::sleep(age).await;
    if !connection.is_unidentified() {
        std::future::pending::<()>().await;
    }
}

/// The age of one connection; `fraction` is from 0 to 1.
fn jittered(age: Duration, fraction: f64) -> Duration {
    age.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let age = Duration::from_secs(100);
        assert_eq!(jittered(age, 0.0), Duration::from_secs(90));
        assert_eq!(jittered(age, 0.5), age);
        assert_eq!(jittered(age, 1.0), Duration::from_secs(110));
        let drawn: Vec<f64> = (0..100).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..1.0).contains(drawn)), "{drawn:?}");
        let (low, high) = drawn.iter().fold((1.0_f64, 0.0_f64), |(low, high), each| (low.min(*each), high.max(*each)));
        assert!(high - low > 0.5, "all in one place: {low} to {high}");
    }
}
