//! Counters of the watch plane, for operators, and for tests that check that work is done once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a replica since its start. They only grow.
#[derive(Debug, Default)]
pub struct WatchCounts {
    /// Activations written: once for each different part that a subscriber asked for.
    pub activations_written: Count,
    /// Parts of snapshots written.
    pub snapshot_parts_written: Count,
    /// Heartbeats written.
    pub heartbeats_written: Count,
    /// Messages sent by streams; a shared message counts for each stream.
    pub messages_taken: Count,
    /// Streams closed because their reader read nothing.
    pub streams_given_up: Count,
    /// Pages of the log read for subscribers behind the ring.
    pub pages_read: Count,
    /// Activations that rings released because all of them together held too much.
    pub frames_released: Count,
    /// Looks of the log follower at the heads of logs.
    pub looks: Count,
    /// Feeds that the log follower compared with the heads of their logs.
    pub feeds_compared: Count,
    /// Rounds of head reads for GetActive.
    pub head_rounds: Count,
}

/// A counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_many(&self, count: usize) {
        self.0.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
