//! The ports: accept loop, TLS, HTTP/2, the age and the end of connections, stalled streams, response bodies of shared bytes (ADR 0014).
//!
//! Boundary: sockets, and the time limit of each step on them. Calls are handled by a service that the caller passes in; this module knows
//! no service, no store and no setting of the configuration.
//! Invariant: every task that it spawns is in its own set and is gone when [`Listener::serve`] returns.

mod accept;
mod answer_progress;
mod close_reason;
mod connection_handle;
mod connection_metrics;
mod connection_slots;
mod executor;
mod handshake;
mod http_port;
mod http_thread;
mod limits;
mod message_body;
mod protocol;
mod serve_connection;
mod socket_io;
mod stalled_stream;
mod status_message;
mod tls;

pub use accept::Listener;
pub use close_reason::CloseReason;
pub use connection_handle::{ConnectionHandle, OpenWatch, ShutdownReason, WATCHES_PER_CONNECTION_MAX, network_of};
pub use connection_metrics::ConnectionMetrics;
pub use http_port::serve_http;
pub use http_thread::spawn_http;
pub use limits::ConnectionLimits;
pub use message_body::{MessageBody, SLICE_MAX_BYTES, StreamDeadline, status_trailers};
pub use protocol::ProtocolLayer;
pub use serve_connection::GrpcService;
pub use stalled_stream::{StallGuardLayer, StreamProgress};
pub use status_message::PlainStatusMessageLayer;
pub use tls::{ReloadableTls, tls_config};
