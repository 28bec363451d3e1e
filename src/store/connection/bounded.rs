//! A connection or transaction on which every statement has a timeout: a database that stopped never answers.
//!
//! Only COMMIT has none: if it were cancelled, nobody would know whether it took effect (docs/guarantees.md#g8). Failures are reported to `Health`.

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

/// How long one statement may take, or BEGIN with the wait for a connection. Writes must fail within 3 s of an outage
/// (docs/guarantees.md#g17), and a call ends at the first statement that is not answered. It is longer than what the database itself gives up
/// (`postgres_session.rs`), so that a database that answers "not now" is told from one that does not answer.
const STATEMENT_TIMEOUT: Duration = Duration::from_millis(2_400);

/// How long a call that got no connection waits for a probe to say why, or for a call that has one to give up its lock: the pause
/// between two probes, and what one takes at a database that refuses it. Longer: together with the wait for the connection more
/// than the 3 s of docs/guarantees.md#g17. Shorter: the cause is not told.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(600);

/// How long a call may wait in all for statements that get what they wait for, before PostgreSQL gives it up for the lock that it
/// waits for then. Longer: a call that waits for one lock after the other fails later than 3 s (docs/guarantees.md#g17). Shorter: writes of a busy
/// namespace are refused.
const WAITS_MAX: Duration = Duration::from_millis(2_400);
/// What is left for a lock to a call that has waited for that long. Shorter: locks that are held for a moment refuse it too.
const WAIT_MIN: Duration = Duration::from_millis(100);

/// Returns how long a lock may be waited for by a call that has waited for `waited`.
fn lock_timeout(waited: Duration) -> Duration {
    WAITS_MAX.saturating_sub(waited).max(WAIT_MIN)
}

/// The connection or transaction that the store runs statements on.
#[derive(Debug)]
pub(in crate::store) struct TimedConnection<C> {
    connection: C,
    health: Arc<Health>,
    /// In a transaction of PostgreSQL, up to which wait of its call the timeout of its locks was shortened, in milliseconds.
    shortened: Option<AtomicU64>,
}

impl<C> TimedConnection<C> {
    pub(in crate::store) fn new(connection: C, health: Arc<Health>) -> Self {
        Self { connection, health, shortened: None }
    }

    /// Waits for an answer for [`STATEMENT_TIMEOUT`] at most.
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

    /// Runs a statement. When no connection was free, the error says why a new one was refused, or what those in use waited for.
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
        // Read before the failure is reported: the probe that the report starts must count.
        let begun = self.health.causes.begun();
        self.health.failed(failure);
        if failure != Failure::NoConnection {
            return Err(error);
        }
        Err(within(CAUSE_TIMEOUT, causes.cause(begun)).await.flatten().unwrap_or(error))
    }
}

/// Notes a full disk, which keeps writes away and reads not.
fn note_disk(health: &Health, error: &DbErr) {
    if is_disk_full(error) {
        health.write_blockers.note_disk(Some(WriteBlocker::disk_full()));
    }
}

impl TimedConnection<DatabaseConnection> {
    /// Opens a transaction.
    ///
    /// In a task of its own: sqlx rolls back a transaction that is dropped, but not one whose BEGIN was cancelled on its
    /// way, and the next user of that connection would run inside that transaction.
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
    /// Has PostgreSQL wait for the next lock no longer than the waits of this call so far leave.
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
            // Whatever it said: what became of the transaction on that connection is not known.
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
