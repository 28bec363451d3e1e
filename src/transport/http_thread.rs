//! Runs the HTTP port on its own thread, so that probes are answered however busy the calls of the gRPC port keep the runtime.
//!
//! Boundary: starts the thread and its runtime; the router decides what is served. Invariant: the thread ends with the future that
//! represents it.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::http_port::serve_http;

/// Serves the HTTP port from a new thread. Returns a future that ends when the thread does; dropping it ends the thread.
///
/// Clients without a credential can keep every thread of the main runtime busy with small, valid calls. The scheduler of the kernel is
/// fair between threads, so a probe then waits for milliseconds, and not behind all of those calls.
///
/// # Errors
/// `io::Error` when the thread or its runtime can't be started.
pub fn spawn_http(
    socket: TcpListener,
    router: Router,
    head_timeout: Duration,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = socket.into_std()?;
    let (stop, (running, has_ended)) = (CancellationToken::new(), oneshot::channel::<()>());
    let stopped = stop.clone();
    std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        runtime.block_on(async {
            match TcpListener::from_std(socket) {
                Ok(socket) => drop(stopped.run_until_cancelled(serve_http(socket, None, router, head_timeout)).await),
                Err(error) => tracing::error!(%error, "the HTTP port can't be served"),
            }
        });
        drop(running);
    })?;
    let stop = stop.drop_guard();
    Ok(async move {
        let _ = has_ended.await;
        drop(stop);
    })
}
