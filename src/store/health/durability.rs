//! Decides whether a write may be acknowledged: its own connection is asked before it writes, another one after its COMMIT.
//!
//! Settings of PostgreSQL change under open connections, and not in all of them at once. Invariant: a write is acknowledged only after
//! both connections confirmed that a crash does not lose it.

use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryResult, QuerySelect as _, QueryTrait as _, Select};

use crate::defect::{Defect, planted};
use crate::domain::Result as Answer;
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::store::connection::postgres_session::{with_durability, write_blocker_of_result};
use crate::store::entity::events;
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::health::write_blocker::WriteBlocker;

/// What another connection finds of a committed transaction.
#[derive(Debug)]
pub(in crate::store) enum CommitConfirmation {
    /// The transaction is stored.
    Durable,
    /// It is stored, and a crash may lose it: the settings of the database changed while the transaction was open.
    Lossy(WriteBlocker),
    /// The transaction is missing.
    Absent,
}

impl Store {
    /// Checks whether the database can be written to now: its settings change under open connections. Each write checks that itself; this
    /// is for callers that ask before they write, and it notices that a write blocker is gone.
    pub async fn check_writability(&self) {
        self.look_at_disk().await;
        if self.is_postgres() && !self.is_degraded() {
            // A connection is checked when it is taken from the pool; a failure was reported to `Health` by then.
            let _ = self.writer_in_spite_of_write_blockers().execute_unprepared("SELECT 1").await;
            if let Err(error) = self.look_for_rights().await {
                tracing::debug!(%error, detail = error.internal, "failed to check the rights of the server's role");
            }
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> bool {
        let Ok(reader) = self.reader() else { return false };
        reader.execute_unprepared("SELECT 1").await.is_ok()
    }

    /// Reads a row in a transaction that writes, and refuses the transaction when its own connection may not be written to. The result of
    /// another connection does not apply to this one.
    ///
    /// # Errors
    /// `DATABASE_NOT_DURABLE`, `DATABASE_READ_ONLY`, `DATABASE_ACCESS_DENIED`, `DATABASE_UNAVAILABLE`.
    pub(in crate::store) async fn writable_row<E: EntityTrait>(
        &self,
        tx: &impl ConnectionTrait,
        query: Select<E>,
    ) -> Answer<Option<QueryResult>> {
        let backend = tx.get_database_backend();
        let query = if self.is_postgres() { with_durability(query) } else { query };
        let row = tx.query_one_raw(query.build(backend)).await.map_err(failed)?;
        if let Some(row) = row.as_ref().filter(|_| self.is_postgres())
            && let Some(found) = write_blocker_of_result(row).map_err(failed)?
        {
            let refusal = found.to_error();
            self.inner.health.write_blockers.note(Some(found));
            return Err(refusal);
        }
        Ok(row)
    }

    /// Asks whether a row exists for which `is_it` holds, and whether commits survive a crash.
    pub(in crate::store) async fn confirm<E: EntityTrait>(
        self,
        query: Select<E>,
        is_it: impl Fn(&QueryResult) -> Result<bool, DbErr>,
    ) -> Result<CommitConfirmation, DbErr> {
        if planted(Defect::TransactionLeftOpen) {
            return Ok(CommitConfirmation::Durable);
        }
        let reader = self.reader_in_outage();
        let query = if self.is_postgres() { with_durability(query) } else { query };
        let Some(row) = reader.query_one_raw(query.build(reader.get_database_backend())).await? else {
            return Ok(CommitConfirmation::Absent);
        };
        if !is_it(&row)? {
            return Ok(CommitConfirmation::Absent);
        }
        let found = if self.is_postgres() { write_blocker_of_result(&row)? } else { None };
        Ok(found.filter(WriteBlocker::is_lossy).map_or(CommitConfirmation::Durable, CommitConfirmation::Lossy))
    }

    /// Asks whether a log has the event of a head. A log without events has nothing to lose.
    pub(in crate::store) async fn confirm_event(
        self,
        namespace: NamespaceId,
        head: Head,
    ) -> Result<CommitConfirmation, DbErr> {
        if head.cursor.revision == 0 {
            return Ok(CommitConfirmation::Durable);
        }
        let event = events::Entity::find_by_id((namespace.to_string(), head.cursor.revision));
        let hash = event.select_only().column(events::Column::Hash);
        self.confirm(hash, |row| Ok(row.try_get::<Vec<u8>>("", "hash")? == head.hash)).await
    }
}
