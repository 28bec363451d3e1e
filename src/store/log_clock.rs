//! The time of events: by one clock for a store (PostgreSQL's own; the host's with SQLite), and never before the event before.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use sea_orm::{ConnectionTrait, Statement};
use tokio::time::Instant;

use super::connect::Store;
use super::error::failed;
use super::transaction::{ReadTx, Tx};
use crate::domain::Result;
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
const AHEAD_TOLERATED_MICROS: i64 = 1_000_000;

/// How far the log is ahead of the clock, as far as this process has seen.
#[derive(Debug)]
pub(super) struct LogClock {
    wall: fn() -> Micros,
    /// The newest time of an event.
    newest: AtomicI64,
    is_said: AtomicBool,
}

impl LogClock {
    pub(super) fn new(wall: fn() -> Micros) -> Self {
        Self { wall, newest: AtomicI64::new(0), is_said: AtomicBool::new(false) }
    }

    /// Notes the time of an event, and what the clock of the store said after it was read.
    fn note(&self, namespace: &NamespaceId, newest: Micros, now: Micros) {
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

impl Store {
    /// Microseconds by which the newest event that this process has seen is ahead of the host's clock; 0 when it is not.
    #[must_use]
    pub fn log_ahead_micros(&self) -> i64 {
        let clock = &self.inner.clock;
        let ahead_micros = clock.newest.load(Ordering::Relaxed).saturating_sub((clock.wall)().0);
        if ahead_micros > AHEAD_TOLERATED_MICROS { ahead_micros } else { 0 }
    }

    /// Now by the clock of the store, and the time of the event at a revision, if one stands there.
    async fn times(&self, tx: &Tx, namespace: &NamespaceId, revision: i64) -> Result<(Micros, Option<Micros>)> {
        let of_database =
            if self.is_postgres() { "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint" } else { "0" };
        let sql = format!("SELECT {of_database}, (SELECT time FROM events WHERE namespace = $1 AND revision = $2)");
        let values = [namespace.as_str().into(), revision.into()];
        let row = tx.query_one_raw(Statement::from_sql_and_values(tx.get_database_backend(), sql, values)).await;
        let (now, event): (i64, Option<i64>) = match row.map_err(failed)? {
            Some(row) => row.try_get_many_by_index().map_err(failed)?,
            None => (0, None),
        };
        let now = if self.is_postgres() { Micros(now) } else { (self.inner.clock.wall)() };
        if let Some(event) = event {
            self.inner.clock.note(namespace, Micros(event), now);
        }
        Ok((now, event.map(Micros)))
    }

    /// The time of the event that comes next in a log that is locked (docs/lifecycle.md#rule-11).
    pub(super) async fn time_of_next(&self, tx: &Tx, namespace: &NamespaceId, head: i64) -> Result<Micros> {
        let (now, previous) = self.times(tx, namespace, head).await?;
        Ok(previous.map_or(now, |previous| previous.max(now)))
    }

    /// The newest time of which a view can say what was in force: now, or that of the last event where the log is ahead.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn newest_time(&self, view: &ReadTx, namespace: &NamespaceId, head: i64) -> Result<Micros> {
        self.time_of_next(&view.tx, namespace, head).await
    }
}
