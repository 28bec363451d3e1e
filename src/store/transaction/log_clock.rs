//! The time of events: by one clock for a store (PostgreSQL's own; the host's with SQLite), and never before the event before.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::time::Instant;

use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;

/// The clocks of the host: a store has none of its own.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Wall time: that of events with SQLite.
    pub wall: fn() -> Micros,
    /// For the age of connections.
    pub monotonic: fn() -> Instant,
}

/// The log this far ahead of the clock is said aloud: it had jumped. Below, the clocks of a host and its database may just differ.
pub(in crate::store) const AHEAD_TOLERATED_MICROS: i64 = 1_000_000;

/// How far the log is ahead of the clock, as far as this process has seen.
#[derive(Debug)]
pub(in crate::store) struct LogClock {
    pub(in crate::store) wall: fn() -> Micros,
    /// The newest time of an event.
    pub(in crate::store) newest: AtomicI64,
    is_said: AtomicBool,
}

impl LogClock {
    pub(in crate::store) fn new(wall: fn() -> Micros) -> Self {
        Self { wall, newest: AtomicI64::new(0), is_said: AtomicBool::new(false) }
    }

    /// Notes the time of an event, and what the clock of the store said after it was read.
    pub(in crate::store) fn note(&self, namespace: &NamespaceId, newest: Micros, now: Micros) {
        self.newest.fetch_max(newest.0, Ordering::Relaxed);
        let ahead_micros = newest.0.saturating_sub(now.0);
        if ahead_micros <= AHEAD_TOLERATED_MICROS {
            self.is_said.store(false, Ordering::Relaxed);
        } else if !self.is_said.swap(true, Ordering::Relaxed) {
            let ahead_seconds = ahead_micros / 1_000_000;
            tracing::warn!(%namespace, ahead_seconds, "the log is ahead of the clock: events keep the time of the last one until then");
        }
    }
}
