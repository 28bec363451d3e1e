//! Begins transactions: a consistent view to read, or a write that holds the lock of its namespace.

use sea_orm::ConnectionTrait as _;
use sea_orm::{
    AccessMode, EntityTrait, FromQueryResult as _, IsolationLevel, QuerySelect as _, SqliteTransactionMode,
    TransactionOptions,
};

use crate::defect::{Defect, planted};
use crate::domain::name::NamespaceId;
use crate::domain::{Reason, Result};
use crate::store::connection::postgres_session::STREAM_IDLE_TIMEOUT_MILLIS;
use crate::store::entity::namespaces;
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::rows;
use crate::store::transaction::ledger::Ledger;
use crate::store::transaction::views::{ReadTx, WriteTx};

impl Store {
    /// Opens a consistent view.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn read(&self) -> Result<ReadTx> {
        let options = if self.is_postgres() {
            TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                sqlite_transaction_mode: None,
            }
        } else {
            TransactionOptions::default()
        };
        let tx = self.reader()?.begin(options).await.map_err(failed)?;
        Ok(ReadTx { tx, macs: self.macs(), closed: self.closed_versions(), ledger: Ledger::of_view() })
    }

    /// Opens a write and locks the namespace: until the commit, no other write changes it.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATABASE_UNAVAILABLE`, `STORE_IN_DOUBT`.
    pub async fn begin(&self, namespace: &NamespaceId) -> Result<WriteTx> {
        self.inner.suspected_loss.check()?;
        // Take the mark before the lock: the log under the lock must include it.
        let seen = self.inner.high_water.head(namespace);
        let write = match self.begin_despite_suspected_loss(namespace).await {
            Err(gone) if gone.reason == Reason::NamespaceNotFound && seen.is_some() => {
                self.detects_loss().await;
                return Err(self.check_no_suspected_loss().err().unwrap_or(gone));
            }
            begun => begun?,
        };
        if let Some(seen) = seen {
            self.check_leads_on(&write, &seen).await?;
        }
        // Check again: BEGIN may have opened a new connection, which showed only now that it leads to another database.
        self.inner.suspected_loss.check()?;
        Ok(write)
    }

    /// Begins a write even while data loss is suspected, for the command that ends the suspicion.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATABASE_UNAVAILABLE`.
    pub async fn begin_despite_suspected_loss(&self, namespace: &NamespaceId) -> Result<WriteTx> {
        // SQLite: a transaction that reads first and writes later would fail with SQLITE_BUSY instead of waiting. PostgreSQL: read
        // committed, as set for the session, so that reads after the lock see the newest rows.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let tx = self.writer()?.begin(options).await.map_err(failed)?;
        let row = namespaces::Entity::find_by_id(namespace.as_str());
        let locked = if planted(Defect::RevisionFromSequence) { row } else { row.lock_exclusive() };
        let row = self.writable_row(&tx, locked).await?.ok_or_else(|| namespace.not_found())?;
        let row = namespaces::Model::from_query_result(&row, "").map_err(failed)?;
        let head = rows::head(&row)?;
        #[cfg(feature = "planted-defects")]
        let head = from_sequence(head);
        let log_facts = self.read_log_facts(&tx, namespace, head.cursor.revision).await?;
        let (access_revision, usage, is_importing) = (row.access_revision, rows::usage(&row), row.importing != 0);
        let (store, namespace) = (self.clone(), namespace.clone());
        let read = ReadTx { tx, macs: self.macs(), closed: self.closed_versions(), ledger: Ledger::of_write() };
        Ok(WriteTx { read, store, namespace, head, log_facts, access_revision, is_importing, row, usage })
    }

    /// Opens a consistent view for a stream, whose reader may pause for a while between two statements.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn read_for_stream(&self) -> Result<ReadTx> {
        let view = self.read().await?;
        if self.is_postgres() {
            // Applies to this transaction alone. It is no query, so the view begins after it.
            let sql = format!("SET LOCAL idle_in_transaction_session_timeout = {STREAM_IDLE_TIMEOUT_MILLIS}");
            view.tx.execute_unprepared(&sql).await.map_err(failed)?;
        }
        Ok(view)
    }
}

/// The planted defect: the revision comes from a counter that the lock does not guard.
#[cfg(feature = "planted-defects")]
fn from_sequence(mut head: crate::domain::event::Head) -> crate::domain::event::Head {
    if planted(Defect::RevisionFromSequence) {
        head.cursor.revision = crate::defect::next_of_sequence(head.cursor.revision) - 1;
    }
    head
}
