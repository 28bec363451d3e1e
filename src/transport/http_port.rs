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
use super::answer_progress::{AnswerProgress, FollowedBody};
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
/// How long it may take to read the next part of an answer that is made while it is sent, such as a download: that goes on as long as parts
/// of it are taken. The answer itself says how long it may take as a whole.
const PART_GRACE_MAX: Duration = Duration::from_secs(30);
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
        let progress = AnswerProgress::default();
        let answers = progress.clone();
        let answer = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let (answered, answers) = (router.clone().oneshot(request), answers.clone());
            async move {
                let answer = answered.await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(answer.map(|body| answers.follow(body)))
            }
        });
        serve_requests(stream, answer, &progress, head_timeout).await;
    }
}

async fn serve_requests<S, A>(stream: S, answer: A, progress: &AnswerProgress, head_timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: hyper::service::HttpService<Incoming, ResBody = FollowedBody<axum::body::Body>>,
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
    loop {
        let taken = progress.taken_parts();
        let grace = if progress.is_streaming() { PART_GRACE_MAX } else { GRACE_MAX };
        if timeout(grace, connection.as_mut()).await.is_ok() || progress.taken_parts() == taken {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::{StreamExt as _, stream};
    use http::Response;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Bytes that a connection holds for its reader.
    const BUFFER_BYTES: usize = 1024;
    /// A part that is too large for the buffer of the server: the next one is asked for when it was read.
    const PART_BYTES: usize = 2 * BUFFER_MAX_BYTES;
    /// How long a part of the answer takes to make: all parts together more than the age limit.
    const PART_INTERVAL: Duration = Duration::from_secs(20);
    const PARTS: usize = 10;

    /// Opens a connection that answers in parts, and asks for the answer.
    async fn ask() -> (DuplexStream, JoinSet<()>) {
        let (mut client, server) = duplex(BUFFER_BYTES);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let progress = AnswerProgress::default();
            let answers = progress.clone();
            let answer = hyper::service::service_fn(move |_| {
                let parts = stream::unfold(0, |part| async move {
                    sleep(PART_INTERVAL).await;
                    (part < PARTS).then(|| (Ok::<_, Infallible>("x".repeat(PART_BYTES)), part + 1))
                });
                let body = answers.follow(Body::from_stream(parts));
                async move { Ok::<_, Infallible>(Response::new(body)) }
            });
            serve_requests(server, answer, &progress, AGE_MAX).await;
        });
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        (client, serving)
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_goes_on_beyond_the_age_of_its_connection() {
        let (mut client, _serving) = ask().await;
        let mut received = String::new();
        client.read_to_string(&mut received).await.expect("an answer");
        assert!(received.ends_with("0\r\n\r\n"), "it is whole: {} bytes", received.len());
        assert_eq!(received.matches('x').count(), PARTS * PART_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_reads_ends_with_its_connection() {
        let (mut client, _serving) = ask().await;
        sleep(AGE_MAX + PART_GRACE_MAX + PART_GRACE_MAX).await;
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("an end");
        assert!(received.len() <= BUFFER_BYTES, "it was not read, so it was cut: {} bytes", received.len());
    }

    #[tokio::test]
    async fn an_answer_streams_until_its_end_or_until_it_is_dropped() {
        let progress = AnswerProgress::default();
        let whole = progress.follow(Body::from("a page"));
        assert!(!progress.is_streaming(), "its only part is there");
        drop(whole);
        let parts = || Body::from_stream(stream::iter([Ok::<_, Infallible>("a"), Ok("b")]));
        let mut taken = Body::new(progress.follow(parts())).into_data_stream();
        assert_eq!((progress.is_streaming(), progress.taken_parts()), (true, 0));
        assert!(taken.next().await.is_some());
        assert_eq!((progress.is_streaming(), progress.taken_parts()), (true, 1));
        drop(taken);
        assert!(!progress.is_streaming());
        let cut = progress.follow(parts());
        drop(cut);
        assert!(!progress.is_streaming());
    }
}
