//! The HTTP port on a thread of its own: probes are answered whatever the calls of the gRPC port do to the runtime.
//!
//! Boundary: starts the thread and its runtime; what is served is the router's. Invariant: the thread ends with the future that
//! stands for it.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::http::serve_http;

/// Serves the HTTP port from a new thread. Returns a future that ends when the thread does; dropped, it ends the thread.
///
/// Strangers can keep every thread of the common runtime busy with calls that are all small and well formed. The scheduler of the
/// kernel is fair between threads, so a probe waits for milliseconds then, and not behind all of them.
///
/// # Errors
/// The thread or its runtime can't be started.
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
                Ok(socket) => drop(stopped.run_until_cancelled(serve_http(socket, router, head_timeout)).await),
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
