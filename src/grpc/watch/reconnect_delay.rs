//! How long subscribers should wait before they reconnect when their streams end together, so that they do not all reconnect at once.
//!
//! Pure, except for a count that is taken once. Invariant: no delay is longer than [`DELAY_MAX`].

use std::sync::OnceLock;
use std::time::Duration;

use crate::transport::ShutdownReason;

/// The longest delay that a server requests of a subscriber.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// How many streams reconnect in a second, when another server can accept them. Higher: a replica with many streams hands them over as one
/// burst. Lower: subscribers of a replica with few streams are disconnected for longer than necessary.
const RECONNECTS_PER_SECOND: u32 = 500;

/// Computes the delays that a server requests.
#[derive(Debug)]
pub(super) struct ReconnectDelays {
    /// Whether another server can accept the streams at once while this one stops.
    has_replicas: bool,
    /// How many streams were open when the drain began, so that the last one to end waits no shorter than the first.
    drained: OnceLock<usize>,
}

impl ReconnectDelays {
    /// Creates the delays of a server that has just started.
    pub fn new(has_replicas: bool) -> Self {
        Self { has_replicas, drained: OnceLock::new() }
    }

    /// Returns the longest delay for a stream that ends now. `of_connection` is the number of watches of its connection, `of_server`
    /// that of all namespaces watched here: each costs a snapshot or a resume when its stream reconnects.
    pub fn longest(&self, reason: ShutdownReason, of_connection: usize, of_server: usize) -> Duration {
        let streams = match reason {
            // A single server has to restart first: a client that reconnects at once would fail.
            ShutdownReason::Draining if !self.has_replicas => return DELAY_MAX,
            ShutdownReason::Draining => *self.drained.get_or_init(|| of_server),
            // The same server accepts them again.
            ShutdownReason::Age => of_connection,
        };
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        Duration::from_secs(streams.into())
            .checked_div(RECONNECTS_PER_SECOND)
            .map_or(DELAY_MAX, |delay| delay.min(DELAY_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_streams_reconnect_fast_when_a_server_is_there() {
        let alone = ReconnectDelays::new(false);
        assert_eq!(alone.longest(ShutdownReason::Draining, 1, 1), DELAY_MAX);
        assert_eq!(alone.longest(ShutdownReason::Age, 1, 9_000), Duration::from_millis(2));
        for (streams, expected_ms) in [(1, 2), (500, 1_000), (2_500, 5_000), (usize::MAX, 5_000)] {
            let delays = ReconnectDelays::new(true);
            assert_eq!(delays.longest(ShutdownReason::Draining, 1, streams), Duration::from_millis(expected_ms));
            assert_eq!(
                delays.longest(ShutdownReason::Draining, 1, 0),
                Duration::from_millis(expected_ms),
                "as the drain began"
            );
        }
    }
}
