//! Limits the number of gRPC connections, and the time that each step of one may take.
//!
//! Only tests need to set these low. What no operator should change is a constant of `transport`.

use super::error::ConfigError;
use super::range::{in_range, milliseconds};
use super::settings::Settings;
use crate::transport::ConnectionLimits;

const MAX_CONNECTIONS: usize = 20_000;
const MAX_CONNECTION_AGE_MS: u64 = 30 * 60 * 1_000;
const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
const KEEPALIVE_INTERVAL_MS: u64 = 30_000;
const KEEPALIVE_TIMEOUT_MS: u64 = 20_000;
const STUCK_READER_TIMEOUT_MS: u64 = 30_000;
const UNIDENTIFIED_CONNECTION_AGE_MS: u64 = 60_000;

impl Settings {
    pub(super) fn connections(&self) -> Result<ConnectionLimits, ConfigError> {
        let or = |given: Option<u64>, default| given.unwrap_or(default);
        Ok(ConnectionLimits {
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
