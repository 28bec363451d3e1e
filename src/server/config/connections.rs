//! How many connections of gRPC there may be, and how long each part of one may take.
//!
//! Tests set these low; nobody else needs to. What no operator should change is a constant of `server::listen`.

use std::time::Duration;

use super::error::ConfigError;
use super::resolve::{in_range, milliseconds};
use super::settings::Settings;

const MAX_CONNECTIONS: usize = 20_000;
const MAX_CONNECTION_AGE_MS: u64 = 30 * 60 * 1_000;
const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
const KEEPALIVE_INTERVAL_MS: u64 = 30_000;
const KEEPALIVE_TIMEOUT_MS: u64 = 20_000;
const STUCK_READER_TIMEOUT_MS: u64 = 30_000;
const UNIDENTIFIED_CONNECTION_AGE_MS: u64 = 60_000;

/// The limits of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsConfig {
    /// 1 to 10⁶. Too high: memory, and file descriptors run out first. Too low: clients can't connect.
    pub max_connections: usize,
    /// 100 ms to 24 h. Too high: new replicas get no share of the load. Too low: subscribers reconnect all the time.
    pub max_age: Duration,
    /// For TLS and the first bytes of HTTP/2 together. Too high: silent sockets are kept. Too low: clients far away
    /// don't get in.
    pub handshake_timeout: Duration,
    /// From the last sign of life to a ping.
    pub keepalive_interval: Duration,
    /// From a ping to the end. Too low, with the interval: clients on a bad line are cut off.
    pub keepalive_timeout: Duration,
    /// How long the peer of a stream may take nothing of it. Too high: stuck readers hold memory. Too low: subscribers that
    /// work on what they got, and read nothing meanwhile, are cut off.
    pub stuck_reader_timeout: Duration,
    /// Age of a connection on which no call was authenticated. Too high: who has no credential holds connections longer. Too
    /// low: health checks make new ones more often.
    pub unidentified_age: Duration,
}

impl Settings {
    pub(super) fn connections(&self) -> Result<ConnectionsConfig, ConfigError> {
        let or = |given: Option<u64>, default| given.unwrap_or(default);
        Ok(ConnectionsConfig {
            max_connections: in_range(
                "max_connections",
                self.max_connections.unwrap_or(MAX_CONNECTIONS),
                1..=1_000_000,
            )?,
            max_age: milliseconds(
                "max_connection_age_ms",
                or(self.max_connection_age_ms, MAX_CONNECTION_AGE_MS),
                100..=86_400_000,
            )?,
            handshake_timeout: milliseconds(
                "handshake_timeout_ms",
                or(self.handshake_timeout_ms, HANDSHAKE_TIMEOUT_MS),
                50..=30_000,
            )?,
            keepalive_interval: milliseconds(
                "keepalive_interval_ms",
                or(self.keepalive_interval_ms, KEEPALIVE_INTERVAL_MS),
                50..=300_000,
            )?,
            keepalive_timeout: milliseconds(
                "keepalive_timeout_ms",
                or(self.keepalive_timeout_ms, KEEPALIVE_TIMEOUT_MS),
                50..=60_000,
            )?,
            stuck_reader_timeout: milliseconds(
                "stuck_reader_timeout_ms",
                or(self.stuck_reader_timeout_ms, STUCK_READER_TIMEOUT_MS),
                50..=300_000,
            )?,
            unidentified_age: milliseconds(
                "unidentified_connection_age_ms",
                or(self.unidentified_connection_age_ms, UNIDENTIFIED_CONNECTION_AGE_MS),
                100..=60_000,
            )?,
        })
    }
}
