//! The connections of the HTTP port: their number, their number per peer, the time for a request, and their age.
//!
//! Clients of this port need no credential, so every wait for one of them is bounded. The connections are in a set that ends with the
//! port.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::accept::AcceptBackoff;
use super::connection_slots::ConnectionSlots;

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

/// Serves forever. `head_timeout` limits the head of a request, and the idle time before it.
pub(super) async fn serve_http(socket: TcpListener, router: Router, head_timeout: Duration) {
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
        let router = router.clone();
        connections.spawn(async move {
            let evicted = slot.evicted();
            evicted.run_until_cancelled(serve_connection(stream, router, head_timeout)).await;
            drop(slot);
        });
    }
}

async fn serve_connection(stream: TcpStream, router: Router, head_timeout: Duration) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_MAX_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // Errors concern the client alone.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE_MAX, connection).await;
}
