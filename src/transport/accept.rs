//! The accept loop of the gRPC port: which connections it takes, what it does when the kernel refuses, and the end of all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::close_reason::CloseReason;
use super::connection_metrics::ConnectionMetrics;
use super::connection_slots::{ConnectionSlots, PEER_MIN_CONNECTIONS};
use super::handshake::HALF_CLOSE_TIMEOUT;
use super::limits::ConnectionLimits;
use super::serve_connection::{ConnectionServer, GrpcService};
use super::tls::ReloadableTls;

/// The pauses after the kernel gave no connection, for example because file descriptors ran out. The socket stays readable then, so
/// that without a pause the loop would spin.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// One peer may have a quarter of the connections on which no call was authenticated. With one more, its oldest one is closed. So a
/// fleet behind one address gets in, and leaves connections for others.
const UNAUTHENTICATED_SHARES: usize = 4;

/// The gRPC port.
#[derive(Debug)]
pub struct Listener {
    /// The bound, listening socket; closed when the server begins to drain.
    pub socket: TcpListener,
    /// Without it the port speaks plaintext.
    pub tls: Option<Arc<ReloadableTls>>,
    /// Builds the request extensions for the client certificate of a connection, leaf first. The handshake has verified the certificates.
    pub with_certificate: fn(Vec<CertificateDer<'static>>) -> Extensions,
    /// Limits of connections.
    pub limits: ConnectionLimits,
    /// Time from the start of the drain to the forced close of the remaining connections.
    pub drain_timeout: Duration,
    /// Counts connections.
    pub metrics: Arc<dyn ConnectionMetrics>,
    /// Answers every call.
    pub service: GrpcService,
}

impl Listener {
    /// Serves until `draining` is cancelled, then ends all connections in order. Connections that have not ended after the drain
    /// timeout are closed by force.
    pub async fn serve(self, draining: CancellationToken) {
        let Self { socket, tls, with_certificate, limits, drain_timeout, metrics, service } = self;
        let tracker = TaskTracker::new();
        let force_close = CancellationToken::new();
        let share = (limits.max_connections / UNAUTHENTICATED_SHARES).max(PEER_MIN_CONNECTIONS);
        let slots = ConnectionSlots::new(limits.max_connections, share);
        let server = ConnectionServer {
            service,
            tls,
            with_certificate,
            limits,
            tracker: tracker.clone(),
            draining: draining.clone(),
            force_close: force_close.clone(),
            metrics: metrics.clone(),
        };
        let mut connections = JoinSet::new();
        let mut backoff = AcceptBackoff::default();
        loop {
            let accepted = tokio::select! {
                () = draining.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = backoff.accept(&socket) => accepted,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    metrics.accept_failed();
                    backoff.failed(&error);
                    continue;
                }
            };
            backoff = AcceptBackoff::default();
            let peer = stream.peer_addr().ok();
            // A connection without a slot is closed at once, so that its client tries another server. In the backlog it would wait.
            let Some(slot) = slots.admit(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())) else {
                metrics.refused(CloseReason::Limit);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let (server, counted) = (server.clone(), CountedConnection::open(metrics.clone()));
            connections.spawn(async move {
                let reason = server.serve(stream, peer, &slot).await;
                counted.close(reason);
                drop(slot);
            });
        }
        // Close the listener so that clients fail fast. Otherwise they would wait in the backlog of a server that accepts nobody.
        drop(socket);
        if tokio::time::timeout(drain_timeout, join_all(&mut connections)).await.is_err() {
            tracing::warn!(connections = connections.len(), "some connections did not end in time; closing them");
            force_close.cancel();
            // Twice their own limit, so that normally the connections end by that limit and with their own reason.
            let _ = tokio::time::timeout(2 * HALF_CLOSE_TIMEOUT, join_all(&mut connections)).await;
            connections.shutdown().await;
        }
        tracker.close();
        tracker.wait().await;
    }
}

async fn join_all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// Counts an open connection until it is dropped.
struct CountedConnection {
    metrics: Arc<dyn ConnectionMetrics>,
    reason: CloseReason,
}

impl CountedConnection {
    fn open(metrics: Arc<dyn ConnectionMetrics>) -> Self {
        metrics.opened();
        // A connection whose task is aborted at the end of a drain never reports a reason.
        Self { metrics, reason: CloseReason::Draining }
    }

    fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.metrics.closed(self.reason);
    }
}

/// The pause before the next accept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct AcceptBackoff {
    pause: Duration,
    until: Option<Instant>,
}

impl AcceptBackoff {
    /// Accepts a connection once the pause is over.
    pub(super) async fn accept(&self, socket: &TcpListener) -> io::Result<TcpStream> {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
        socket.accept().await.map(|(stream, _)| stream)
    }

    /// Makes the pause longer after an accept that failed.
    pub(super) fn failed(&mut self, error: &io::Error) {
        // These errors are about one connection, which is gone; the next one may be there already.
        let transient = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted];
        if transient.contains(&error.kind()) {
            return;
        }
        if self.pause.is_zero() {
            tracing::warn!(%error, "failed to accept a connection; trying again");
        }
        self.pause = (self.pause * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        self.until = Some(Instant::now() + self.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        let mut backoff = AcceptBackoff::default();
        let mut pauses = Vec::new();
        // EMFILE.
        let error = io::Error::from_raw_os_error(24);
        for _ in 0..6 {
            backoff.failed(&error);
            pauses.push(backoff.pause.as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 500, 500]);
        let mut backoff = AcceptBackoff::default();
        backoff.failed(&io::ErrorKind::ConnectionAborted.into());
        assert_eq!(backoff, AcceptBackoff::default(), "one connection that is gone must not delay the next one");
    }
}
