//! The accept loop: who gets in, what happens when the kernel says no, and the end of all connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Cause, GrpcService, LINGER_MAX, Server};
use super::peers::{PEER_MIN_CONNECTIONS, Peers};
use super::tls::Tls;
use crate::server::config::ConnectionsConfig;
use crate::server::metrics::Metrics;

/// Pauses after the kernel gave no connection, as when file descriptors run out: the socket stays ready, so without
/// them the loop would spin.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// One peer has a quarter of the connections at most on which no call was authenticated. With one more, its oldest one is ended:
/// a fleet behind one address comes in, and leaves room for others.
const UNIDENTIFIED_SHARES: usize = 4;

/// The gRPC port.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening; closed at the drain.
    pub socket: TcpListener,
    /// Without one it is plaintext.
    pub tls: Option<Arc<Tls>>,
    /// Of connections.
    pub limits: ConnectionsConfig,
    /// From the drain to the hard end of what is left.
    pub drain_timeout: Duration,
    /// Where connections are counted.
    pub metrics: Metrics,
    /// Every call goes there.
    pub service: GrpcService,
}

impl Listener {
    /// Serves until `draining`, then ends all connections in order, and those that do not by the drain timeout, hard.
    pub async fn serve(self, draining: CancellationToken) {
        let Self { socket, tls, limits, drain_timeout, metrics, service } = self;
        let tracker = TaskTracker::new();
        let cut = CancellationToken::new();
        let share = (limits.max_connections / UNIDENTIFIED_SHARES).max(PEER_MIN_CONNECTIONS);
        let peers = Peers::new(limits.max_connections, share);
        let server =
            Server { service, tls, limits, tracker: tracker.clone(), draining: draining.clone(), cut: cut.clone() };
        let mut connections = JoinSet::new();
        let mut backoff = Backoff::default();
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
                    backoff.after(&error);
                    continue;
                }
            };
            backoff = Backoff::default();
            let peer = stream.peer_addr().ok();
            // Closed at once, so that its client tries elsewhere: in the backlog it would wait without a word.
            let Some(admitted) = peers.admit(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())) else {
                metrics.connection_refused(Cause::Limit);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let (server, open) = (server.clone(), metrics.connection_opened());
            connections.spawn(async move {
                let cause = server.serve(stream, peer, &admitted).await;
                open.closed(cause);
                drop(admitted);
            });
        }
        // Nobody waits in the backlog of a server that takes nobody in.
        drop(socket);
        if tokio::time::timeout(drain_timeout, all(&mut connections)).await.is_err() {
            tracing::warn!(connections = connections.len(), "some connections did not end in time; closing them");
            cut.cancel();
            // Twice, so that it is the connections' own bound that ends them.
            let _ = tokio::time::timeout(2 * LINGER_MAX, all(&mut connections)).await;
            connections.shutdown().await;
        }
        tracker.close();
        tracker.wait().await;
    }
}

async fn all(connections: &mut JoinSet<()>) {
    while connections.join_next().await.is_some() {}
}

/// The pause before the next accept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    pub(super) async fn accept(&self, socket: &TcpListener) -> io::Result<TcpStream> {
        if let Some(until) = self.until {
            tokio::time::sleep_until(until).await;
        }
        socket.accept().await.map(|(stream, _)| stream)
    }

    pub(super) fn after(&mut self, error: &io::Error) {
        // About one connection, which is gone; the next may be there already.
        let passing = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::Interrupted];
        if passing.contains(&error.kind()) {
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
        let mut backoff = Backoff::default();
        let mut pauses = Vec::new();
        // EMFILE.
        let error = io::Error::from_raw_os_error(24);
        for _ in 0..6 {
            backoff.after(&error);
            pauses.push(backoff.pause.as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 500, 500]);
        let mut backoff = Backoff::default();
        backoff.after(&io::ErrorKind::ConnectionAborted.into());
        assert_eq!(backoff, Backoff::default(), "one connection that is gone holds nobody up");
    }
}
