//! Decides which pooled connections may be used again (docs/guarantees.md#g25).
//!
//! A connection is closed when it was open at the time of a failure, when its ROLLBACK failed, or when its last statement ended with an
//! error of the database itself. Otherwise a transaction could stay open on it for ever, and every later commit would only release a
//! savepoint inside it (docs/adr/0033).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sea_orm::sqlx::postgres::{PgConnection, Postgres};
use sea_orm::sqlx::sqlite::{Sqlite, SqliteConnection};
use sea_orm::sqlx::{Connection as _, Error, raw_sql};
use tokio::time::Instant;

use crate::defect::{Defect, planted};
use crate::store::connection::postgres_session::read_write_blocker;
use crate::store::error::is_sqlite_failure;
use crate::store::health::write_blocker::WriteBlockers;

/// A connection that was opened within this time after a failure counts as open at its time: ages and failures are read from the clock one
/// after the other. Higher: connections are reopened unnecessarily.
const FAILURE_MARGIN: Duration = Duration::from_millis(10);
/// Fails inside a transaction, and does nothing outside of one.
const SQLITE_IS_IDLE: &str = "BEGIN; ROLLBACK";
/// The time of the last failure of a connection.
#[derive(Debug)]
pub(in crate::store) struct LastFailure {
    clock: fn() -> Instant,
    last: Mutex<Option<Instant>>,
}

impl LastFailure {
    /// Starts with no failure. `clock` is monotonic.
    pub(in crate::store) fn new(clock: fn() -> Instant) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// Records a failure: every connection that is open now is closed before its next use.
    pub(in crate::store) fn note(&self) {
        let failure = Some((self.clock)()).filter(|_| !planted(Defect::TransactionLeftOpen));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Reads its clock.
    pub(in crate::store) fn now(&self) -> Instant {
        (self.clock)()
    }

    fn was_during(&self, connection: &PoolConnectionMetadata) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| connection.age + FAILURE_MARGIN >= (self.clock)().duration_since(last))
    }
}

/// Guards the connections of a pool to SQLite.
pub(in crate::store) fn guard_sqlite(pool: PoolOptions<Sqlite>, failures: &Arc<LastFailure>) -> PoolOptions<Sqlite> {
    if planted(Defect::TransactionLeftOpen) {
        return pool;
    }
    let (released, taken) = (Arc::clone(failures), Arc::clone(failures));
    pool.after_release(move |connection, metadata| {
        let is_old = released.was_during(&metadata);
        Box::pin(async move { Ok(!is_old && ended_well(connection).await?) })
    })
    .before_acquire(move |connection, metadata| {
        let is_old = taken.was_during(&metadata);
        Box::pin(async move { Ok(!is_old && is_idle_sqlite(connection).await) })
    })
}

/// Whether the last use of a connection left no transaction open. It waits for a ROLLBACK that is still running.
async fn ended_well(connection: &mut SqliteConnection) -> Result<bool, Error> {
    let failed = connection.lock_handle().await?.last_error().is_some_and(|error| is_failure(&error));
    Ok(!failed && !connection.is_in_transaction())
}

fn is_failure(error: &dyn DatabaseError) -> bool {
    error.code().and_then(|code| code.parse().ok()).is_some_and(is_sqlite_failure)
}

/// Whether no transaction is open, by the counter of sqlx and by SQLite itself.
async fn is_idle_sqlite(connection: &mut SqliteConnection) -> bool {
    !connection.is_in_transaction() && raw_sql(SQLITE_IS_IDLE).execute(connection).await.is_ok()
}

/// Guards the connections of a pool to PostgreSQL. sqlx pings each one before its use, which also waits for a ROLLBACK that is still
/// running; and each transaction begins with a `SET TRANSACTION`, which PostgreSQL refuses inside one that was left open.
pub(in crate::store) fn guard_postgres(
    pool: PoolOptions<Postgres>,
    failures: &Arc<LastFailure>,
    write_blockers: Option<Arc<WriteBlockers>>,
) -> PoolOptions<Postgres> {
    let (released, taken) = (Arc::clone(failures), Arc::clone(failures));
    pool.after_release(move |connection, metadata| {
        let is_good = !released.was_during(&metadata) && !connection.is_in_transaction();
        Box::pin(async move { Ok(is_good) })
    })
    // The check of a connection that writes also shows that it is alive.
    .test_before_acquire(write_blockers.is_none())
    .before_acquire(move |connection, metadata| {
        let is_good = !taken.was_during(&metadata) && !connection.is_in_transaction();
        let write_blockers = write_blockers.clone();
        Box::pin(async move {
            match write_blockers {
                Some(write_blockers) if is_good => is_writable(connection, &write_blockers).await,
                _ => Ok(is_good),
            }
        })
    })
}

/// Whether a connection to PostgreSQL can be written to now, and durably; records the result in `write_blockers`. A new connection
/// replaces one that can't: the defaults of its role may have changed.
async fn is_writable(connection: &mut PgConnection, write_blockers: &WriteBlockers) -> Result<bool, Error> {
    let found = read_write_blocker(connection).await?;
    let is_writable = found.is_none();
    write_blockers.note(found);
    Ok(is_writable)
}
