//! What a driver is told on its standard input and what it answers on its standard output, as JSON.
//!
//! Boundary: data only. A driver knows nothing of policies: it gets calls with their bodies encoded.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One call, ready to be sent.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BenchCall {
    /// `/package.Service/Method`; for NATS the subject.
    pub path: String,
    /// The message, without its gRPC header; for NATS the payload.
    pub body: Vec<u8>,
    /// Number of a text field of the message: each call gets a number of its own in it, at most nine digits.
    pub numbered: Option<u8>,
    /// Says whether the request stays open: the call of a bidirectional stream that ends when its request does.
    pub open: bool,
}

/// Says what is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WireFormat {
    /// gRPC over HTTP/2 without TLS.
    Grpc,
    /// The text protocol of NATS.
    Nats,
}

/// Holds what to do to a server, and how its first state looks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadPlan {
    /// Process whose CPU and memory are read.
    pub server: i32,
    /// Says where it listens.
    pub address: SocketAddr,
    /// Sent as bearer token with every call, to every target alike.
    pub token: String,
    /// Holds what it speaks.
    pub wire: WireFormat,
    /// Connections.
    pub connections: usize,
    /// Streams of each, or calls in flight of each.
    pub streams: usize,
    /// Size from which a message is a delivery; smaller ones are heartbeats and acknowledgements.
    pub least_bytes: usize,
    /// Holds what to measure.
    pub work: LoadWork,
}

/// Says what to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum LoadWork {
    /// Opens all subscriptions, then publishes again and again, each time waiting for the last subscriber.
    Fanout { watch: BenchCall, publish: Vec<BenchCall>, publishes: usize },
    /// Keeps calls in flight. Connection i sends the calls of list i modulo their number, one after the other.
    Load { calls: Vec<Vec<BenchCall>>, seconds: f64 },
    /// Opens all, cuts all, publishes once, and opens all again.
    Resync { watch: BenchCall, publish: BenchCall, again: BenchCall },
    /// Calls of one tenant, one at a time each, alone and beside another tenant's noise, in turns.
    Neighbour { read: BenchCall, write: Vec<BenchCall>, noise: Vec<BenchCall>, noise_per_second: f64 },
    /// Opens all and does nothing.
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
