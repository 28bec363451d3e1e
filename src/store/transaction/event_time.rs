//! Computes the time of events, by the clock of the store.

use std::sync::atomic::Ordering;

use sea_orm::{ConnectionTrait, DbErr, Statement};

use crate::domain::event::{Cursor, Head};
use crate::domain::name::{NamespaceId, SYSTEM_NAMESPACE};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::requirements::HAS_REQUIREMENTS;
use crate::store::tables::rows;
use crate::store::transaction::log_clock::AHEAD_TOLERATED_MICROS;
use crate::store::transaction::log_facts::LogFacts;
use crate::store::transaction::views::{ReadTx, Tx};

/// The time by PostgreSQL's clock, in microseconds.
const POSTGRES_CLOCK_MICROS: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The time of the event at revision $2 of namespace $1, whether that namespace has imports, and the end of the log of `system` ($3).
const LOG_FACTS: &str = "(SELECT time FROM events WHERE namespace = $1 AND revision = $2) AS previous, \
     EXISTS (SELECT 1 FROM imports WHERE namespace = $1) AS has_imports, \
     s.epoch, s.head_revision, s.head_hash \
     FROM (SELECT 1 AS one) o LEFT JOIN namespaces s ON s.id = $3";

impl Store {
    /// Returns by how many microseconds the newest event that this process has seen is ahead of the host's clock; 0 when it is not.
    #[must_use]
    pub fn log_ahead_micros(&self) -> i64 {
        let clock = &self.inner.clock;
        let ahead_micros = clock.newest.load(Ordering::Relaxed).saturating_sub((clock.wall)().0);
        if ahead_micros > AHEAD_TOLERATED_MICROS { ahead_micros } else { 0 }
    }

    /// Returns the time of the next event of a log, whose last one is at revision `head`, and what else a write reads first
    /// (docs/lifecycle.md#rule-11). In one statement: a write waits for each answer while it holds the lock.
    pub(in crate::store) async fn read_log_facts(
        &self,
        tx: &Tx,
        namespace: &NamespaceId,
        head: i64,
    ) -> Result<LogFacts> {
        let of_database = if self.is_postgres() { POSTGRES_CLOCK_MICROS } else { "0" };
        let requiring = format!("EXISTS (SELECT 1 FROM versions WHERE namespace = $1 AND {HAS_REQUIREMENTS})");
        let sql = format!("SELECT {of_database} AS now, {requiring} AS has_requirements, {LOG_FACTS}");
        let values = [namespace.as_str().into(), head.into(), SYSTEM_NAMESPACE.into()];
        let row = tx.query_one_raw(Statement::from_sql_and_values(tx.get_database_backend(), sql, values)).await;
        let row = row.map_err(failed)?.ok_or_else(|| Error::internal("a query without tables gave no row"))?;
        let of_row = || -> std::result::Result<_, DbErr> {
            let system: (Option<i64>, Option<i64>, Option<Vec<u8>>) =
                (row.try_get("", "epoch")?, row.try_get("", "head_revision")?, row.try_get("", "head_hash")?);
            Ok((row.try_get("", "now")?, row.try_get("", "previous")?, system))
        };
        let (now, previous, system): (i64, Option<i64>, _) = of_row().map_err(failed)?;
        let flag = |column| row.try_get::<bool>("", column).map_err(failed);
        let (has_imports, has_requirements) = (flag("has_imports")?, flag("has_requirements")?);
        let now = if self.is_postgres() { Micros(now) } else { (self.inner.clock.wall)() };
        if let Some(previous) = previous {
            self.inner.clock.note(namespace, Micros(previous), now);
        }
        let time = previous.map_or(now, |previous| Micros(previous).max(now));
        let system_head = match system {
            (Some(epoch), Some(revision), Some(hash)) => {
                Some(Head { cursor: Cursor { epoch, revision }, hash: rows::hash("head hash", &hash)? })
            }
            _ => None,
        };
        Ok(LogFacts { time, has_imports, has_requirements, system_head })
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
        Ok(self.read_log_facts(&view.tx, namespace, head).await?.time)
    }
}
