//! The HTTP port: so many connections, so many of one peer, each with a bound on its beginning, its silence and its age.
//!
//! Whoever reaches it has no token, so nothing of it waits for a client without an end. Its connections are in a set that
//! ends with it.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::accept::Backoff;
use super::peers::Peers;

/// Connections at once: probes, scrapers and verifiers, each for a moment.
const CONNECTIONS_MAX: usize = 256;
/// Connections of one peer at once: the probes and scrapers of a node come from one address.
const CONNECTIONS_PER_PEER_MAX: usize = 64;
/// Age after which a connection ends with the answer it is at. Longer: who takes nothing keeps its place longer.
const AGE_MAX: Duration = Duration::from_secs(60);
/// How long that answer may take to be taken.
const GRACE_MAX: Duration = Duration::from_secs(5);
/// Largest head of a request; hyper takes no less.
const BUFFER_MAX_BYTES: usize = 16 * 1024;

/// Serves for ever. `head_timeout` is for the head of a request, and for the silence before it.
pub(super) async fn serve_http(socket: TcpListener, router: Router, head_timeout: Duration) {
    let peers = Peers::new(CONNECTIONS_MAX, CONNECTIONS_PER_PEER_MAX);
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::default();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = backoff.accept(&socket) => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                backoff.after(&error);
                continue;
            }
        };
        backoff = Backoff::default();
        // A peer that is gone already has no address.
        let Ok(address) = stream.peer_addr() else { continue };
        // There is always one to be ended: nobody is known here.
        let Some(admitted) = peers.admit(address.ip()) else { continue };
        let router = router.clone();
        connections.spawn(async move {
            let ended = admitted.ended();
            ended.run_until_cancelled(serve(stream, router, head_timeout)).await;
            drop(admitted);
        });
    }
}

async fn serve(stream: TcpStream, router: Router, head_timeout: Duration) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(BUFFER_MAX_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // What ends a connection early is of interest to its client alone.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = sleep(AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE_MAX, connection).await;
}
