//! Computes the time of events, by the clock of the store.

use std::sync::atomic::Ordering;

use sea_orm::{ConnectionTrait, Statement};

use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::transaction::log_clock::AHEAD_TOLERATED_MICROS;
use crate::store::transaction::views::{ReadTx, Tx};

/// The time by PostgreSQL's clock, in microseconds.
const POSTGRES_CLOCK_MICROS: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

impl Store {
    /// Returns by how many microseconds the newest event that this process has seen is ahead of the host's clock; 0 when it is not.
    #[must_use]
    pub fn log_ahead_micros(&self) -> i64 {
        let clock = &self.inner.clock;
        let ahead_micros = clock.newest.load(Ordering::Relaxed).saturating_sub((clock.wall)().0);
        if ahead_micros > AHEAD_TOLERATED_MICROS { ahead_micros } else { 0 }
    }

    /// Returns the current time by the clock of the store, and the time of the event at a revision, if there is one.
    async fn times(&self, tx: &Tx, namespace: &NamespaceId, revision: i64) -> Result<(Micros, Option<Micros>)> {
        let of_database = if self.is_postgres() { POSTGRES_CLOCK_MICROS } else { "0" };
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

    /// Returns the time of the next event in a locked log (docs/lifecycle.md#rule-11).
    pub(in crate::store) async fn time_of_next(&self, tx: &Tx, namespace: &NamespaceId, head: i64) -> Result<Micros> {
        let (now, previous) = self.times(tx, namespace, head).await?;
        Ok(previous.map_or(now, |previous| previous.max(now)))
    }

    /// Returns the current time by the clock of the store, which all replicas share.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn current_time(&self, view: &ReadTx) -> Result<Micros> {
        let tx = &view.tx;
        if !self.is_postgres() {
            return Ok((self.inner.clock.wall)());
        }
        let sql = format!("SELECT {POSTGRES_CLOCK_MICROS}");
        let row = tx.query_one_raw(Statement::from_string(tx.get_database_backend(), sql)).await.map_err(failed)?;
        let row = row.ok_or_else(|| Error::internal("a query of the clock without a row"))?;
        row.try_get_by_index(0).map(Micros).map_err(failed)
    }

    /// Returns the newest time for which a view can state the active set: now, or the time of the last event when the log is ahead.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn newest_time(&self, view: &ReadTx, namespace: &NamespaceId, head: i64) -> Result<Micros> {
        self.time_of_next(&view.tx, namespace, head).await
    }
}
