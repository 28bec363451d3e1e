//! The two kinds of transaction: one snapshot for a read, one locked namespace for a write.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ColumnTrait as _, DatabaseTransaction, EntityTrait, QueryFilter as _, Set,
    sea_query::IntoCondition,
};

use crate::domain::event::{Head, RowChange};
use crate::domain::name::NamespaceId;
use crate::domain::quota::{Quotas, Usage};
use crate::domain::row_mac::RowMac;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::authenticated::{Authenticated, AuthenticatedTable, authenticate, row_change};
use crate::store::connection::bounded::TimedConnection;
use crate::store::entity::namespaces;
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::closed_versions::ClosedVersions;
use crate::store::tables::rows;
use crate::store::transaction::ledger::{Ledger, decides};
use crate::store::transaction::log_facts::LogFacts;

/// A consistent view: every read through it sees the same commit.
#[derive(Debug)]
pub struct ReadTx {
    pub(in crate::store) tx: Tx,
    pub(in crate::store) macs: Arc<dyn RowMac>,
    pub(in crate::store) closed: Arc<ClosedVersions>,
    pub(in crate::store) ledger: Ledger,
}

/// The transaction under a read or a write.
pub(in crate::store) type Tx = TimedConnection<DatabaseTransaction>;

/// A write: the namespace is locked until it is committed or dropped; a drop rolls it back.
#[derive(Debug)]
pub struct WriteTx {
    pub(in crate::store) read: ReadTx,
    pub(in crate::store) store: Store,
    pub(in crate::store) namespace: NamespaceId,
    pub(in crate::store) head: Head,
    pub(in crate::store) log_facts: LogFacts,
    pub(in crate::store) access_revision: i64,
    pub(in crate::store) is_importing: bool,
    /// The row of the namespace, as locked.
    pub(in crate::store) row: namespaces::Model,
    pub(in crate::store) usage: Usage,
}

/// Writes the set columns of exactly the row that `key` names. Nothing is read back, because rows contain schemas and manifests.
pub(in crate::store) async fn update_one<A: ActiveModelTrait>(tx: &Tx, row: A, key: impl IntoCondition) -> Result<()> {
    let done = A::Entity::update_many().set(row).filter(key.into_condition()).exec(tx).await.map_err(failed)?;
    match done.rows_affected {
        1 => Ok(()),
        several => Err(Error::internal(format!("an update of one row touched {several}"))),
    }
}

impl ReadTx {
    /// Authenticates a row. In a write, it also records the row, for the comparison with the event that named it last.
    pub(in crate::store) fn authenticated<E: AuthenticatedTable>(
        &self,
        row: E::Model,
    ) -> Result<Authenticated<E::Model>> {
        let authenticated = authenticate::<E>(self.macs.as_ref(), row)?;
        self.note_read::<E>(&authenticated)?;
        Ok(authenticated)
    }

    fn note_read<E: AuthenticatedTable>(&self, Authenticated(row): &Authenticated<E::Model>) -> Result<()> {
        if self.ledger.is_of_write() && decides(E::default().table_name()) {
            self.ledger.note_read(self.row_change::<E>(row)?);
        }
        Ok(())
    }

    /// In a write, records that a row is not there, for the same comparison.
    pub(in crate::store) fn note_absent_row(&self, row: RowChange) {
        if self.ledger.is_of_write() {
            self.ledger.note_read(row);
        }
    }

    /// Returns the entry for this row in an event.
    pub(in crate::store) fn row_change<E: AuthenticatedTable>(&self, row: &E::Model) -> Result<RowChange> {
        row_change::<E>(self.macs.as_ref(), row)
    }
}

impl WriteTx {
    /// Returns the view of this write: its reads see what it wrote.
    #[must_use]
    pub fn read(&self) -> &ReadTx {
        &self.read
    }

    pub(in crate::store) fn tx(&self) -> &Tx {
        &self.read.tx
    }

    pub(in crate::store) fn macs(&self) -> &dyn RowMac {
        self.read.macs.as_ref()
    }

    /// Returns the rows that this write read and wrote.
    pub(in crate::store) fn ledger(&self) -> &Ledger {
        &self.read.ledger
    }

    /// Returns the end of the log, as locked.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the time of this write's event, by the clock of the store and never earlier than the previous event
    /// (docs/lifecycle.md#rule-11).
    #[must_use]
    pub fn time(&self) -> Micros {
        self.log_facts.time
    }

    /// Returns the end of the log of `system` after the lock was taken; none in a new store.
    #[must_use]
    pub fn system_head(&self) -> Option<Head> {
        self.log_facts.system_head
    }

    /// Returns the last revision that changed a role binding of this log, including this write.
    #[must_use]
    pub fn access_revision(&self) -> i64 {
        self.access_revision
    }

    /// Whether the namespace had imports when this write began.
    pub(in crate::store) fn has_imports(&self) -> bool {
        self.log_facts.has_imports
    }

    /// Whether a version of the namespace required anything of other policies when this write began. Versions that this write adds do not
    /// count: none of them is active before its event.
    pub(in crate::store) fn has_requirements(&self) -> bool {
        self.log_facts.has_requirements
    }

    /// Records that the next event changes a role binding.
    pub(in crate::store) async fn access_changes(&mut self) -> Result<()> {
        self.access_revision = self.head.next().revision;
        let row = namespaces::ActiveModel { access_revision: Set(self.access_revision), ..Default::default() };
        update_one(self.tx(), row, namespaces::Column::Id.eq(self.namespace.as_str())).await
    }

    /// Whether an import of the namespace was unfinished when this write began.
    #[must_use]
    pub fn is_importing(&self) -> bool {
        self.is_importing
    }

    /// Returns the quotas that were set for the namespace, as locked.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn quotas(&self) -> Result<Quotas> {
        let Authenticated(row) = self.read.authenticated::<namespaces::Entity>(self.row.clone())?;
        rows::quotas(&row.settings)
    }

    /// Returns the usage of the namespace, including what this write added.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Returns the usage for counting additions: it is written to the row with the next event.
    pub(in crate::store) fn usage_mut(&mut self) -> &mut Usage {
        &mut self.usage
    }

    pub(in crate::store) fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }
}
