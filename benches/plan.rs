//! The plan that a driver reads from standard input and the samples it writes to standard output, as JSON.
//!
//! Boundary: data only. A driver knows nothing of policies: it gets calls with encoded bodies.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::socket::{self, BenchTls};

/// One call, ready to be sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BenchCall {
    /// `/package.Service/Method`; for NATS the subject.
    pub path: String,
    /// The message, without its gRPC header; for NATS the payload.
    pub body: Vec<u8>,
    /// Field number of a text field that gets a different number in each call, at most nine digits.
    pub numbered: Option<u8>,
    /// Whether the request stays open, for a bidirectional stream that ends when its request does.
    pub open: bool,
}

/// The protocol of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireFormat {
    /// gRPC over HTTP/2.
    Grpc,
    /// The text protocol of NATS.
    Nats,
}

/// What to do to a server, and its initial state.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Process whose CPU and memory are read.
    pub server: i32,
    /// The server's address.
    pub address: SocketAddr,
    /// The certificate to trust, in PEM, when the server has TLS.
    pub certificate: Option<String>,
    /// The bearer token of every call, of the same length for every target.
    pub token: String,
    /// Tokens of subscriptions: number n uses token n, modulo their count. When empty, all use `token`.
    pub subscriber_tokens: Vec<String>,
    /// The server's protocol.
    pub wire: WireFormat,
    /// Number of connections.
    pub connections: usize,
    /// Number of streams, or of calls in flight, per connection.
    pub streams: usize,
    /// Size from which a message counts as a delivery; smaller ones are heartbeats and acknowledgements.
    pub least_bytes: usize,
    /// What to measure.
    pub work: LoadWork,
}

impl LoadPlan {
    /// Returns the token of a subscription.
    pub fn subscription_token(&self, subscription: usize) -> &str {
        let own = self.subscriber_tokens.get(subscription % self.subscriber_tokens.len().max(1));
        own.unwrap_or(&self.token)
    }

    /// Returns what its connections use for TLS, when the server has it.
    pub fn tls(&self) -> anyhow::Result<Option<BenchTls>> {
        self.certificate.as_deref().map(socket::trust).transpose()
    }
}

/// What to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LoadWork {
    /// Opens all subscriptions, then publishes repeatedly, each time waiting for the last subscriber.
    Fanout { watch: BenchCall, publish: Vec<BenchCall>, publishes: usize },
    /// Keeps calls in flight. Connection i sends the calls of list i modulo the number of lists, one after the other.
    Load { calls: Vec<Vec<BenchCall>>, seconds: f64 },
    /// Opens all subscriptions, closes them, publishes once, and opens all again.
    Resync { watch: BenchCall, publish: BenchCall, again: BenchCall },
    /// Calls of one tenant, one at a time per connection, alone and beside another tenant's load, alternately.
    Neighbour { read: BenchCall, write: Vec<BenchCall>, noise: Vec<BenchCall>, noise_per_second: f64 },
    /// Opens all subscriptions and does nothing.
    Idle { watch: BenchCall, seconds: f64 },
}

/// One measured value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LatencySample {
    /// Name of the figure.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// The value.
    pub value: f64,
}

impl LatencySample {
    /// Returns a value.
    pub fn new(what: &str, unit: &str, value: f64) -> Self {
        Self { what: what.to_owned(), unit: unit.to_owned(), value }
    }
}
