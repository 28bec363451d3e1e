//! tonic's own server with default settings, to show its default behaviour.
//!
//! It ends with the runtime of its test.

use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// Starts a health service on tonic's server as set by `configure`, until `stopped` resolves. Returns the address and the task that ends
/// with the server.
pub async fn serve(
    configure: impl FnOnce(Server) -> Server,
    stopped: CancellationToken,
) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (_, health) = tonic_health::server::health_reporter();
    let server = configure(Server::builder()).add_service(health);
    let incoming = TcpIncoming::from(listener);
    let ended = tokio::spawn(async move {
        server.serve_with_incoming_shutdown(incoming, stopped.cancelled_owned()).await.expect("a server");
    });
    (address, ended)
}

/// Starts such a server with default settings, for ever.
pub async fn server() -> SocketAddr {
    serve(|server| server, CancellationToken::new()).await.0
}
