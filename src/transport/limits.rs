//! Limits of the gRPC port: the number of connections, and the time for each phase of one.

use std::time::Duration;

/// The limits of connections, as set in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// 1 to 10⁶. Too high: memory, and file descriptors run out first. Too low: clients can't connect.
    pub max_connections: usize,
    /// 100 ms to 24 h. Too high: new replicas get no share of the load. Too low: subscribers reconnect all the time.
    pub max_age: Duration,
    /// The time for TLS and the HTTP/2 preface together. Too high: silent sockets are kept. Too low: clients far away
    /// can't connect.
    pub handshake_timeout: Duration,
    /// The time from the last frame that a client sent to a ping.
    pub keepalive_interval: Duration,
    /// The time from a ping to the end of the connection. Too low, together with the interval: clients on a bad line are disconnected.
    pub keepalive_timeout: Duration,
    /// How long the reader of a stream may read nothing. Too high: stalled readers hold memory. Too low: subscribers that process what
    /// they received, and read nothing meanwhile, are disconnected.
    pub stuck_reader_timeout: Duration,
    /// The age limit of a connection on which no call was authenticated. Too high: clients without a credential hold connections
    /// longer. Too low: health checks have to reconnect more often.
    pub unidentified_age: Duration,
}
