//! A connection or transaction on which every statement has a timeout: a database that hangs never answers.
//!
//! Only COMMIT has none: if it were cancelled, it would be unknown whether it took effect (docs/guarantees.md#g8). Failures are reported
//! to `Health`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, TransactionOptions, TransactionTrait as _,
};
use tokio::task::JoinError;

use crate::store::connection::one_wait;
use crate::store::connection::postgres_session::LOCK_TIMEOUT;
use crate::store::connection::timeout::{counted, within};
use crate::store::error::{Failure, classify, is_disk_full};
use crate::store::health::state::Health;
use crate::store::health::write_blocker::WriteBlocker;

/// Timeout of one statement, or of BEGIN with the wait for a connection. Writes must fail within 3 s of an outage
/// (docs/guarantees.md#g17), and a call ends at the first statement that is not answered. It is longer than the timeouts of the database
/// itself (`postgres_session.rs`), so that a database that refuses can be distinguished from one that does not answer.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(2_400);

/// How long a call that got no connection waits for a probe to find the cause, or for a call that has a connection to give up its lock:
/// the pause between two probes, plus the time of a probe that is refused. Longer: together with the wait for the connection it exceeds
/// the 3 s of docs/guarantees.md#g17. Shorter: the error names no cause.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(600);

/// Total time for which a call may wait for statements that succeed; after it, PostgreSQL gives up the lock for which the call waits.
/// Longer: a call that waits for several locks in turn fails later than 3 s (docs/guarantees.md#g17). Shorter: writes of a busy namespace
/// are refused.
const WAITS_MAX: Duration = Duration::from_millis(2_400);
/// Lock timeout of a call that has used up its total. Shorter: locks that are held only briefly refuse it too.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// Returns the lock timeout of a call that has waited for `waited`.
fn lock_timeout(waited: Duration) -> Duration {
    WAITS_MAX.saturating_sub(waited).max(WAIT_MIN)
}

/// The connection or transaction on which the store runs statements.
#[derive(Debug)]
pub(in crate::store) struct TimedConnection<C> {
    connection: C,
    health: Arc<Health>,
    /// In a transaction of PostgreSQL: the call's wait in milliseconds for which its lock timeout was last shortened.
    shortened: Option<AtomicU64>,
}

impl<C> TimedConnection<C> {
    pub(in crate::store) fn new(connection: C, health: Arc<Health>) -> Self {
        Self { connection, health, shortened: None }
    }

    /// Waits for an answer for at most [`STATEMENT_TIMEOUT`].
    async fn answer<T>(&self, statement: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        if let Some(error) = one_wait::waited() {
            return Err(error);
        }
        let answer = self.answer_or_cause(statement).await;
        if let Err(error) = &answer {
            one_wait::note(error);
        }
        answer
    }

    /// Runs a statement. When no connection was free, the error says why a new one was refused, or for what the open ones waited.
    async fn answer_or_cause<T>(&self, statement: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        self.health.count_statement();
        let causes = self.health.causes.watch();
        let (answer, waited) = counted(STATEMENT_TIMEOUT, statement).await;
        one_wait::add(waited);
        let Some(answer) = answer else {
            self.health.unanswered();
            return Err(DbErr::Conn(RuntimeErr::Internal("no answer in time".to_owned())));
        };
        let Err(error) = answer else { return answer };
        note_disk(&self.health, &error);
        self.health.causes.note_lock_timeout(&error);
        let failure = classify(&error);
        // Read this before the failure is reported: the probe that the report starts must count.
        let begun = self.health.causes.begun();
        self.health.failed(failure);
        if failure != Failure::NoConnection {
            return Err(error);
        }
        Err(within(CAUSE_TIMEOUT, causes.cause(begun)).await.flatten().unwrap_or(error))
    }
}

/// Records a full disk, which blocks writes but not reads.
fn note_disk(health: &Health, error: &DbErr) {
    if is_disk_full(error) {
        health.write_blockers.note_disk(Some(WriteBlocker::disk_full()));
    }
}

impl TimedConnection<DatabaseConnection> {
    /// Opens a transaction.
    ///
    /// It runs in its own task: sqlx rolls back a transaction that is dropped, but not one whose BEGIN was cancelled before its answer,
    /// and the next user of that connection would run inside that transaction.
    #[expect(clippy::disallowed_methods, reason = "here the transactions of the store begin; the task ends with BEGIN")]
    pub(in crate::store) async fn begin(
        &self,
        options: TransactionOptions,
    ) -> Result<TimedConnection<DatabaseTransaction>, DbErr> {
        let connection = self.connection.clone();
        let begin = tokio::spawn(async move { connection.begin_with_options(options).await });
        let ended = |error: JoinError| Err(DbErr::Conn(RuntimeErr::Internal(error.to_string())));
        let begun = self.answer(async { begin.await.unwrap_or_else(ended) }).await?;
        let shortened = (begun.get_database_backend() == DbBackend::Postgres).then(AtomicU64::default);
        Ok(TimedConnection { shortened, ..TimedConnection::new(begun, Arc::clone(&self.health)) })
    }
}

impl<C: ConnectionTrait> TimedConnection<C> {
    /// Shortens the lock timeout of PostgreSQL to what the waits of this call so far leave.
    async fn shorten_lock_timeout(&self) -> Result<(), DbErr> {
        let (Some(shortened), waited) = (&self.shortened, one_wait::sum()) else { return Ok(()) };
        let waited_millis = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        if shortened.fetch_max(waited_millis, Ordering::Relaxed) >= waited_millis {
            return Ok(());
        }
        let sql = format!("SET LOCAL lock_timeout = {}", lock_timeout(waited).min(LOCK_TIMEOUT).as_millis());
        self.answer(self.connection.execute_unprepared(&sql)).await.map(drop)
    }
}

impl TimedConnection<DatabaseTransaction> {
    /// Commits, however long it takes.
    pub(in crate::store) async fn commit(self) -> Result<(), DbErr> {
        let Self { connection, health, .. } = self;
        let answer = connection.commit().await;
        if let Err(error) = &answer {
            note_disk(&health, error);
            // Whatever the error is: the state of the transaction on that connection is unknown.
            health.failed(Failure::Outage);
        }
        answer
    }
}

#[async_trait]
impl<C: ConnectionTrait + Send + Sync> ConnectionTrait for TimedConnection<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.shorten_lock_timeout().await?;
        self.answer(self.connection.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.shorten_lock_timeout().await?;
        self.answer(self.connection.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.shorten_lock_timeout().await?;
        self.answer(self.connection.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.shorten_lock_timeout().await?;
        self.answer(self.connection.query_all_raw(statement)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_of_a_call_are_bounded_together() {
        for (waited_millis, left_millis) in [(400, 2_000), (2_000, 400), (2_300, 100), (9_000, 100)] {
            let left = lock_timeout(Duration::from_millis(waited_millis));
            assert_eq!(left, Duration::from_millis(left_millis), "{waited_millis}");
        }
    }
}
