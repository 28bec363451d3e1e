//! The two kinds of transaction: one snapshot for a read, one locked namespace for a write.

use std::sync::Arc;

use sea_orm::{
    ActiveModelTrait, ColumnTrait as _, DatabaseTransaction, EntityTrait, IntoActiveModel as _, QueryFilter as _, Set,
    sea_query::IntoCondition,
};

use crate::domain::event::{Event, Head, Payload, PointerChange, RowChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::quota::{Quotas, Usage};
use crate::domain::row_mac::RowMac;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::authenticated::{Authenticated, AuthenticatedTable, authenticate, row_change};
use crate::store::connection::bounded::TimedConnection;
use crate::store::entity::{events, namespaces, pointer_changes};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::closed_versions::ClosedVersions;
use crate::store::tables::rows;
use crate::store::transaction::ledger::{Ledger, decides};

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
    pub(in crate::store) time: Micros,
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
        self.time
    }

    /// Returns the last revision that changed a role binding of this log, including this write.
    #[must_use]
    pub fn access_revision(&self) -> i64 {
        self.access_revision
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

    /// Appends an event with `payload` and moves its pointers and the head. Only PublishVersions appends several.
    ///
    /// # Errors
    /// `INTERNAL` when the event is not at head + 1 with the head's hash.
    pub async fn append(&mut self, event: &Event, payload: &Payload) -> Result<()> {
        if event.cursor != self.head.next() {
            return Err(Error::internal("an event was made for another cursor of the log"));
        }
        self.add(event, payload.policy.as_ref()).await?;
        if !payload.changes.is_empty() {
            self.move_pointers(event.cursor.revision, &payload.changes).await?;
        }
        Ok(())
    }

    /// Appends the event that raises the epoch of this log. It moves no pointer.
    ///
    /// # Errors
    /// `INTERNAL` when the event is not at the next revision of a higher epoch with the head's hash.
    pub async fn raise_epoch(&mut self, event: &Event) -> Result<()> {
        let is_raised = event.cursor.epoch > self.head.cursor.epoch;
        if !is_raised || event.cursor != self.head.next_epoch(event.cursor.epoch) {
            return Err(Error::internal("an epoch was raised at another cursor of the log"));
        }
        self.add(event, None).await
    }

    /// Adds the event and moves the head.
    async fn add(&mut self, event: &Event, policy: Option<&PolicyId>) -> Result<()> {
        if event.prev_hash != self.head.hash || event.namespace != self.namespace {
            return Err(Error::internal("an event was made for another log"));
        }
        let row = events::Model {
            namespace: self.namespace.to_string(),
            revision: event.cursor.revision,
            epoch: event.cursor.epoch,
            policy: policy.map(ToString::to_string),
            time: self.time.0,
            payload: event.payload.clone(),
            prev_hash: event.prev_hash.to_vec(),
            hash: event.hash.to_vec(),
            seal: event.seal.clone(),
            seal_key_id: event.seal_key_id.clone(),
            statement: event.statement.clone(),
        };
        events::Entity::insert(row.into_active_model()).exec_without_returning(self.tx()).await.map_err(failed)?;
        let head = namespaces::ActiveModel {
            epoch: Set(event.cursor.epoch),
            head_revision: Set(event.cursor.revision),
            head_hash: Set(event.hash.to_vec()),
            policies: Set(self.usage.policies),
            versions: Set(self.usage.versions),
            content_bytes: Set(self.usage.content_bytes),
            ..Default::default()
        };
        update_one(self.tx(), head, namespaces::Column::Id.eq(self.namespace.as_str())).await?;
        self.head = Head { cursor: event.cursor, hash: event.hash };
        Ok(())
    }

    async fn move_pointers(&self, revision: i64, pointers: &[PointerChange]) -> Result<()> {
        for change in pointers {
            self.point(&change.policy, change.version, revision).await?;
        }
        let history = pointers.iter().map(|change| {
            pointer_changes::Model {
                namespace: self.namespace.to_string(),
                policy: change.policy.to_string(),
                revision,
                version: change.version,
            }
            .into_active_model()
        });
        pointer_changes::Entity::insert_many(history).exec_without_returning(self.tx()).await.map_err(failed)?;
        Ok(())
    }

    pub(in crate::store) fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }
}
