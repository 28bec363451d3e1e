//! The clock for the time of events: one clock per store (PostgreSQL's own; the host's with SQLite), never earlier than the previous
//! event.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::time::Instant;

use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;

/// The clocks of the host.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Wall time, used for events with SQLite.
    pub wall: fn() -> Micros,
    /// Monotonic time, used for the age of connections.
    pub monotonic: fn() -> Instant,
}

/// When the log is further ahead of the clock than this, a warning is logged: the clock had jumped. Below it, the clocks of a host and its
/// database may just differ.
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

    /// Records the time of an event, and the time of the store's clock after it was read.
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
