//! How long the subscribers of streams that end together are asked to wait, so that they do not all reconnect at once.
//!
//! Pure but for a count that is taken once. Invariant: no delay is longer than [`DELAY_MAX`].

use std::sync::OnceLock;
use std::time::Duration;

use super::connection::Ending;

/// Longest delay that a server asks of a subscriber.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Streams that reconnect in a second, when there is a server to take them. Higher: a replica with many streams hands them over
/// as one burst. Lower: subscribers of a replica with few streams are away for longer than they need to be.
const RETURNS_PER_SECOND: u32 = 500;

/// What decides about the delays that a server asks for.
#[derive(Debug)]
pub(super) struct ReconnectDelays {
    /// Whether another server may take the streams at once while this one stops.
    has_replicas: bool,
    /// Streams that were open when the drain began: the last to end waits for no less than the first.
    drained: OnceLock<usize>,
}

impl ReconnectDelays {
    /// Prepares the delays of a server that has just started.
    pub fn new(has_replicas: bool) -> Self {
        Self { has_replicas, drained: OnceLock::new() }
    }

    /// Returns the longest delay for a stream that ends now. `of_connection` are its streams, `of_server` the
    /// namespaces watched at all: each costs a snapshot or a resume when its stream comes back.
    pub fn longest(&self, why: Ending, of_connection: usize, of_server: usize) -> Duration {
        let streams = match why {
            // A lone server has to start again first: who comes back at once finds nobody.
            Ending::Draining if !self.has_replicas => return DELAY_MAX,
            Ending::Draining => *self.drained.get_or_init(|| of_server),
            // This server takes them itself.
            Ending::Age => of_connection,
        };
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        Duration::from_secs(streams.into())
            .checked_div(RETURNS_PER_SECOND)
            .map_or(DELAY_MAX, |delay| delay.min(DELAY_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_streams_come_back_fast_where_somebody_takes_them() {
        let alone = ReconnectDelays::new(false);
        assert_eq!(alone.longest(Ending::Draining, 1, 1), DELAY_MAX);
        assert_eq!(alone.longest(Ending::Age, 1, 9_000), Duration::from_millis(2));
        for (streams, expected_ms) in [(1, 2), (500, 1_000), (2_500, 5_000), (usize::MAX, 5_000)] {
            let delays = ReconnectDelays::new(true);
            assert_eq!(delays.longest(Ending::Draining, 1, streams), Duration::from_millis(expected_ms));
            assert_eq!(
                delays.longest(Ending::Draining, 1, 0),
                Duration::from_millis(expected_ms),
                "as the drain began"
            );
        }
    }
}
