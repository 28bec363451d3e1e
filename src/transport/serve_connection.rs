//! One connection of the gRPC port from its first byte to its last.
//!
//! It ends when its client closes it or no longer responds, at the age limit, or when the server drains. In the last two cases its streams
//! are signalled first, HTTP/2 sends GOAWAY once, and the client gets time to read what was sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::ServiceExt as _;
use tower::util::{BoxCloneSyncService, Oneshot};

use super::close_reason::CloseReason;
use super::connection_handle::{ConnectionHandle, STREAMS_PER_CONNECTION_MAX, ShutdownReason};
use super::connection_metrics::ConnectionMetrics;
use super::connection_slots::ConnectionSlot;
use super::executor::{ConnectionStreams, StreamExecutor};
use super::handshake::{HALF_CLOSE_TIMEOUT, Socket, accept_handshake, half_close, preface};
use super::limits::ConnectionLimits;
use super::socket_io::{Loss, SharedIo};
use super::tls::ReloadableTls;

/// Answers every call, through all layers.
pub type GrpcService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// How many resets a connection may cause and have pending before it is closed (RUSTSEC-2024-0003, RUSTSEC-2023-0034). tonic's
/// default for the first is no limit.
const LOCAL_RESETS_MAX: usize = 64;
const PENDING_RESETS_MAX: usize = 20;
/// The largest header list of a request: a token and trace headers fit.
const HEADER_LIST_MAX_BYTES: u32 = 16 * 1024;
/// How many bytes a client may send before the server reads them. Requests are small, and each window is memory.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The longest time from GOAWAY at the age limit to the forced close; shorter where the age limit itself is shorter.
const AGE_GRACE_MAX: Duration = Duration::from_secs(30);
/// How far the age limit of one connection may differ from the setting, so that connections made together do not end together.
const AGE_JITTER: f64 = 0.1;

/// Serves connections.
#[derive(Debug, Clone)]
pub(super) struct ConnectionServer {
    pub(super) service: GrpcService,
    pub(super) tls: Option<Arc<ReloadableTls>>,
    pub(super) with_certificate: fn(Vec<CertificateDer<'static>>) -> Extensions,
    pub(super) limits: ConnectionLimits,
    pub(super) tracker: TaskTracker,
    /// Signals connections to end.
    pub(super) draining: CancellationToken,
    /// Signals connections that have not ended to stop waiting for their clients.
    pub(super) force_close: CancellationToken,
    pub(super) metrics: Arc<dyn ConnectionMetrics>,
}

impl ConnectionServer {
    /// Serves one connection until it has ended, or its slot is given to another one.
    pub(super) async fn serve(self, stream: TcpStream, peer: Option<SocketAddr>, slot: &ConnectionSlot) -> CloseReason {
        let connection = ConnectionHandle::new(peer);
        let evicted = slot.evicted();
        connection.hold_until_authenticated(Box::new(slot.unauthenticated()));
        let reason = evicted.run_until_cancelled(self.serve_admitted(stream, connection)).await;
        reason.unwrap_or(CloseReason::Limit)
    }

    async fn serve_admitted(self, stream: TcpStream, connection: ConnectionHandle) -> CloseReason {
        // Boxed, so that the state of a TLS handshake is freed before the connection serves calls.
        let handshake = Box::pin(accept_handshake(stream, self.tls.as_ref().map(|tls| tls.current())));
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, handshake);
        let socket = tokio::select! {
            () = self.draining.cancelled() => return CloseReason::Draining,
            done = handshake => match done {
                Ok(Ok(socket)) => socket,
                Ok(Err(failure)) => {
                    let reason = failure.reason;
                    failure.close().await;
                    return reason;
                }
                Err(_) => return CloseReason::HandshakeTimeout,
            },
        };
        let mut extensions = socket.peer_certificates().map(self.with_certificate).unwrap_or_default();
        extensions.insert(connection.clone());
        // A peer to which not even a ping can be written is as dead as one that does not answer pings.
        let write_timeout = self.limits.keepalive_interval + self.limits.keepalive_timeout;
        let streams = ConnectionStreams::new(self.tracker.clone(), self.limits.stuck_reader_timeout);
        let io = SharedIo::new(socket, preface(), streams.executor(), write_timeout, self.metrics.clone());
        let reason = self.serve_http2(io.clone(), streams, connection, extensions).await;
        if reason != CloseReason::Keepalive {
            let _ = tokio::time::timeout(HALF_CLOSE_TIMEOUT, half_close(io)).await;
        }
        reason
    }

    /// Speaks HTTP/2 from the preface to the last frame. When it returns, the streams are gone.
    async fn serve_http2(
        &self,
        io: SharedIo<Socket>,
        streams: ConnectionStreams,
        connection: ConnectionHandle,
        extensions: Extensions,
    ) -> CloseReason {
        let calls = CallService { service: self.service.clone(), extensions };
        let http2 = self.http2_builder(streams.executor()).serve_connection(TokioIo::new(io.clone()), calls);
        let mut http2 = Http2Connection {
            http2: Box::pin(http2),
            io,
            executor: streams.executor(),
            has_let_streams_go_first: false,
        };
        let age = with_jitter(self.limits.max_age, fastrand::f64());
        let reason = tokio::select! {
            reason = http2.closed() => return reason,
            () = self.draining.cancelled() => ShutdownReason::Draining,
            () = tokio::time::sleep(age) => ShutdownReason::Age,
            () = unauthenticated_for(&connection, self.limits.unidentified_age) => ShutdownReason::Age,
        };
        connection.shut_down(reason);
        http2.http2.as_mut().graceful_shutdown();
        let grace = match reason {
            // The listener limits the drain.
            ShutdownReason::Draining => Duration::MAX,
            ShutdownReason::Age => self.limits.max_age.min(AGE_GRACE_MAX),
        };
        tokio::select! {
            _ = tokio::time::timeout(grace, http2.closed()) => {}
            () = self.force_close.cancelled() => {}
        }
        reason.into()
    }

    fn http2_builder(&self, executor: StreamExecutor) -> http2::Builder<StreamExecutor> {
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

type ConnectionIo = TokioIo<SharedIo<Socket>>;

/// hyper's connection, and what hyper leaves to the caller: ended streams, the write buffer, and that streams which were woken together
/// are sent together.
struct Http2Connection {
    http2: Pin<Box<http2::Connection<ConnectionIo, CallService, StreamExecutor>>>,
    io: SharedIo<Socket>,
    executor: StreamExecutor,
    has_let_streams_go_first: bool,
}

impl Http2Connection {
    async fn closed(&mut self) -> CloseReason {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<CloseReason> {
        // The first stream that has something wakes the connection, which would run right after it and write for it alone. At the end
        // of the queue it runs after the streams that were woken with it.
        if self.io.is_coalescing() && !std::mem::replace(&mut self.has_let_streams_go_first, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.has_let_streams_go_first = false;
        let polled = self.http2.as_mut().poll(context);
        self.executor.reap();
        match polled {
            Poll::Ready(Ok(())) => Poll::Ready(CloseReason::Peer),
            Poll::Ready(Err(error)) => {
                tracing::debug!(%error, "a connection failed");
                Poll::Ready(match self.io.loss() {
                    Some(Loss::Stalled) => CloseReason::Keepalive,
                    Some(Loss::Broken) => CloseReason::Peer,
                    None if error.is_timeout() => CloseReason::Keepalive,
                    None => CloseReason::Protocol,
                })
            }
            Poll::Pending => match self.io.poll_flush_buffer(context) {
                Poll::Ready(Err(_)) if self.io.loss() == Some(Loss::Stalled) => Poll::Ready(CloseReason::Keepalive),
                Poll::Ready(Err(_)) => Poll::Ready(CloseReason::Peer),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            },
        }
    }
}

/// The service of one connection. It adds the handle of the connection and the client's certificate to each request.
#[derive(Clone)]
struct CallService {
    service: GrpcService,
    extensions: Extensions,
}

impl hyper::service::Service<Request<Incoming>> for CallService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Oneshot<GrpcService, Request<Body>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // Lazy: the layers run once the stream polls this future, so within its stall guard. hyper calls this outside of it.
        let mut request = request.map(Body::new);
        request.extensions_mut().extend(self.extensions.clone());
        self.service.clone().oneshot(request)
    }
}

/// Waits until a connection has been open for `age` without an authenticated call. Waits forever when there was one by then.
async fn unauthenticated_for(connection: &ConnectionHandle, age: Duration) {
    tokio::time::sleep(age).await;
    if !connection.is_unauthenticated() {
        std::future::pending::<()>().await;
    }
}

/// Returns the age limit of one connection. `fraction` is from 0 to 1.
fn with_jitter(age: Duration, fraction: f64) -> Duration {
    age.mul_f64(1.0 - AGE_JITTER + 2.0 * AGE_JITTER * fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let age = Duration::from_secs(100);
        assert_eq!(with_jitter(age, 0.0), Duration::from_secs(90));
        assert_eq!(with_jitter(age, 0.5), age);
        assert_eq!(with_jitter(age, 1.0), Duration::from_secs(110));
        let drawn: Vec<f64> = (0..100).map(|_| fastrand::f64()).collect();
        assert!(drawn.iter().all(|drawn| (0.0..1.0).contains(drawn)), "{drawn:?}");
        let (low, high) = drawn.iter().fold((1.0_f64, 0.0_f64), |(low, high), each| (low.min(*each), high.max(*each)));
        assert!(high - low > 0.5, "the fractions are not spread: {low} to {high}");
    }
}
