//! The connections of the HTTP port and of the console: their number, their number per peer, the time for a request, and their age.
//!
//! Clients of the HTTP port need no credential, and those of the console have none before they sign in, so every wait for one of them is bounded. The connections are in a set that ends with
//! the port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::accept::AcceptBackoff;
use super::connection_slots::ConnectionSlots;
use super::tls::ReloadableTls;

/// How many connections there may be at once: probes, scrapers and verifiers, each for a moment.
const CONNECTIONS_MAX: usize = 256;
/// How many of them one peer may have: the probes and scrapers of a node come from one address.
const CONNECTIONS_PER_PEER_MAX: usize = 64;
/// The age at which a connection ends with its current answer. Longer: a client that reads nothing keeps its slot longer.
const AGE_MAX: Duration = Duration::from_secs(60);
/// How long the client may take to read that answer.
const GRACE_MAX: Duration = Duration::from_secs(5);
/// The largest head of a request; hyper allows no smaller limit.
const BUFFER_MAX_BYTES: usize = 16 * 1024;

/// The protocol that is offered in TLS (RFC 7301). The configuration of the gRPC port, from which this port's is made, prefers HTTP/2.
const PROTOCOL: &[u8] = b"http/1.1";

/// Serves forever. `head_timeout` limits the head of a request, the idle time before it, and a TLS handshake. Each request carries the
/// address of its peer as `ConnectInfo`. Without `tls` the port speaks plaintext.
pub async fn serve_http(socket: TcpListener, tls: Option<Arc<ReloadableTls>>, router: Router, head_timeout: Duration) {
    let slots = ConnectionSlots::new(CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX);
    let mut connections = JoinSet::new();
    let mut backoff = AcceptBackoff::default();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = backoff.accept(&socket) => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                backoff.failed(&error);
                continue;
            }
        };
        backoff = AcceptBackoff::default();
        // A peer that is gone already has no address.
        let Ok(address) = stream.peer_addr() else { continue };
        // On this port every connection can be evicted, so there is always a slot.
        let Some(slot) = slots.admit(address.ip()) else { continue };
        let (router, tls) = (router.clone(), tls.as_ref().map(|tls| tls.current()));
        connections.spawn(async move {
            let evicted = slot.evicted();
            let connection = Connection { router, peer: address, head_timeout };
            evicted.run_until_cancelled(connection.accept(stream, tls)).await;
            drop(slot);
        });
    }
}

/// One connection and what its requests need.
struct Connection {
    router: Router,
    peer: SocketAddr,
    head_timeout: Duration,
}

impl Connection {
    async fn accept(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        let Some(tls) = tls else { return self.serve(stream).await };
        let mut tls = ServerConfig::clone(&tls);
        tls.alpn_protocols = vec![PROTOCOL.to_vec()];
        // A handshake that fails or takes too long concerns the client alone.
        let handshake = TlsAcceptor::from(Arc::new(tls)).accept(stream);
        if let Ok(Ok(stream)) = timeout(self.head_timeout, Box::pin(handshake)).await {
            self.serve(stream).await;
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self { router, peer, head_timeout } = self;
        let answer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let answered = router.clone().oneshot(request);
            async move { Ok::<_, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
        });
        serve_requests(stream, answer, head_timeout).await;
    }
}

async fn serve_requests<S, A>(stream: S, answer: A, head_timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: hyper::service::HttpService<Incoming, ResBody = axum::body::Body>,
    A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_MAX_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // Errors concern the client alone.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE_MAX, connection).await;
}
