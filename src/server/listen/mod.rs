//! The gRPC port: our own accept loop over hyper, instead of tonic's server (ADR 0014); and that of the HTTP port.
//!
//! Boundary: sockets, TLS, HTTP/2 and how long each may take; what a call means is behind a service it is given.
//! Invariant: every task it makes is in a set of its own and is gone when [`Listener::serve`] returns.

mod accept;
mod connection;
mod executor;
mod greeting;
mod http;
mod http_thread;
mod io;
mod peers;
mod refused_clients;
mod tls;

pub use accept::Listener;
pub use connection::{Cause, GrpcService};
pub use http_thread::spawn_http;
pub use tls::Tls;
