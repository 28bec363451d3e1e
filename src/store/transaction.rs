//! The two kinds of transaction: one snapshot for a read, one locked namespace for a write.

use std::sync::Arc;

use sea_orm::{
    AccessMode, ActiveModelTrait, ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult as _,
    IntoActiveModel as _, IsolationLevel, QueryFilter as _, QuerySelect as _, Set, SqliteTransactionMode,
    TransactionOptions, sea_query::IntoCondition,
};
use tokio::time::timeout;

use super::bounded::Bounded;
use super::connect::Store;
use super::durability::Confirmation;
use super::entity::{events, namespaces, pointer_changes};
use super::error::{Failure, commit_failed, commit_refused, failed};
use super::health::COMMIT_ANSWER_TIMEOUT;
use super::row_changes::{Ledger, decides};
use super::rows;
use super::tagged::{Authenticated, Tagged, named, prove};
use super::version_list::ClosedVersions;
use crate::defect::{Defect, planted};
use crate::domain::event::{Event, Head, Payload, PointerChange, RowChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::quota::{Quotas, Usage};
use crate::domain::row_mac::RowMac;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// A consistent view: every read through it sees the same commit.
#[derive(Debug)]
pub struct ReadTx {
    pub(super) tx: Tx,
    pub(super) tags: Arc<dyn RowMac>,
    pub(super) closed: Arc<ClosedVersions>,
    pub(super) ledger: Ledger,
}

/// The transaction under both.
pub(super) type Tx = Bounded<DatabaseTransaction>;

/// A write: the namespace is locked until it is committed or dropped, and dropping it undoes it.
#[derive(Debug)]
pub struct WriteTx {
    read: ReadTx,
    store: Store,
    namespace: NamespaceId,
    head: Head,
    time: Micros,
    access_revision: i64,
    is_importing: bool,
    /// The row of the namespace, as locked.
    row: namespaces::Model,
    usage: Usage,
}

/// The one table whose rows may change without an event.
const REPORTS: &str = "reports";

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
        Ok(ReadTx { tx, tags: self.tags(), closed: self.closed_versions(), ledger: Ledger::of_view() })
    }

    /// Opens a write and locks the namespace: from here to the commit, nobody else changes it.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATABASE_UNAVAILABLE`, `STORE_IN_DOUBT`.
    pub async fn begin(&self, namespace: &NamespaceId) -> Result<WriteTx> {
        self.inner.doubt.check()?;
        // Before the lock: what was seen of the log by then must be in it.
        let seen = self.inner.memory.head(namespace);
        let write = match self.begin_in_doubt(namespace).await {
            Err(gone) if gone.reason == Reason::NamespaceNotFound && seen.is_some() => {
                self.is_found_in_doubt().await;
                return Err(self.check_beyond_doubt().err().unwrap_or(gone));
            }
            begun => begun?,
        };
        if let Some(seen) = seen {
            self.check_leads_on(&write, &seen).await?;
        }
        // Again: the connection may have been a new one, and only now led to another database.
        self.inner.doubt.check()?;
        Ok(write)
    }

    /// The same, also in doubt: for what ends it.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATABASE_UNAVAILABLE`.
    pub async fn begin_in_doubt(&self, namespace: &NamespaceId) -> Result<WriteTx> {
        // SQLite: a transaction that reads first and writes later would fail with SQLITE_BUSY instead of waiting.
        // PostgreSQL: read committed whatever the role's default, so that what is read after the lock is what is there.
        let options = TransactionOptions {
            isolation_level: self.is_postgres().then_some(IsolationLevel::ReadCommitted),
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
        let time = self.time_of_next(&tx, namespace, head.cursor.revision).await?;
        let (access_revision, usage, is_importing) = (row.access_revision, rows::usage(&row), row.importing != 0);
        let (store, namespace) = (self.clone(), namespace.clone());
        let read = ReadTx { tx, tags: self.tags(), closed: self.closed_versions(), ledger: Ledger::of_write() };
        Ok(WriteTx { read, store, namespace, head, time, access_revision, is_importing, row, usage })
    }

    /// Commits a transaction, sees by `confirmation` that another connection finds what it wrote, durable, then runs `after`. A
    /// database that confirms a COMMIT and does not have it would lose an acknowledged write (docs/guarantees.md#g25).
    ///
    /// # Errors
    /// `OUTCOME_UNKNOWN`: nobody knows whether it is.
    #[expect(clippy::disallowed_methods, reason = "nothing a caller does may cancel a COMMIT (docs/guarantees.md#g8)")]
    pub(super) async fn commit(
        &self,
        tx: Bounded<DatabaseTransaction>,
        confirmation: impl Future<Output = std::result::Result<Confirmation, DbErr>> + Send + 'static,
        after: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let (health, store) = (Arc::clone(&self.inner.health), self.clone());
        let commit = tokio::spawn(async move {
            let _running = health.commit_begins();
            tx.commit().await.map_err(|error| commit_refused(&error))?;
            if !planted(Defect::TransactionLeftOpen) {
                match confirmation.await {
                    Ok(Confirmation::Durable) => {
                        // It is where this server reads, which may be a file that no other start finds.
                        if let Some(replaced) = store.replaced_files().await {
                            health.failed(Failure::Outage);
                            after();
                            return Err(commit_failed(replaced));
                        }
                    }
                    Ok(Confirmation::Lossy(found)) => {
                        let message = found.message().to_owned();
                        health.obstacles.note(Some(found));
                        // As below.
                        after();
                        return Err(commit_failed(message));
                    }
                    Ok(Confirmation::Absent) => {
                        health.failed(Failure::Outage);
                        tracing::error!("the database confirmed a COMMIT and does not have what was written");
                        return Err(commit_failed("confirmed, and not there".to_owned()));
                    }
                    Err(error) => {
                        // It was confirmed: readers of this process must not be answered from before it meanwhile.
                        after();
                        return Err(commit_failed(format!("failed to read what was committed: {error}")));
                    }
                }
            }
            after();
            Ok(())
        });
        match timeout(COMMIT_ANSWER_TIMEOUT, commit).await {
            Ok(done) => {
                done.map_err(|error| commit_failed(format!("the task of a commit ended early: {error}"))).flatten()
            }
            Err(_) => {
                // A slow disk or standby, or an outage: the probe tells. The connection is as good as the COMMIT is slow.
                self.inner.health.suspect();
                Err(commit_failed("no answer in time".to_owned()))
            }
        }
    }
}

/// The planted defect: the place comes from a counter that the lock does not guard.
#[cfg(feature = "planted-defects")]
fn from_sequence(mut head: Head) -> Head {
    if planted(Defect::RevisionFromSequence) {
        head.cursor.revision = crate::defect::next_of_sequence(head.cursor.revision) - 1;
    }
    head
}

/// Writes the set columns of exactly the row that `key` names. Nothing is read back: rows carry schemas and manifests.
pub(super) async fn update_one<A: ActiveModelTrait>(tx: &Tx, row: A, key: impl IntoCondition) -> Result<()> {
    let done = A::Entity::update_many().set(row).filter(key.into_condition()).exec(tx).await.map_err(failed)?;
    match done.rows_affected {
        1 => Ok(()),
        several => Err(Error::internal(format!("an update of one row touched {several}"))),
    }
}

impl ReadTx {
    /// A row, proven. In a write it is noted, for the comparison with the event that named it last.
    pub(super) fn proven<E: Tagged>(&self, row: E::Model) -> Result<Authenticated<E::Model>> {
        let proven = prove::<E>(self.tags.as_ref(), row)?;
        self.note_read::<E>(&proven)?;
        Ok(proven)
    }

    fn note_read<E: Tagged>(&self, Authenticated(row): &Authenticated<E::Model>) -> Result<()> {
        if self.ledger.is_of_write() && decides(E::default().table_name()) {
            self.ledger.note_read(self.named::<E>(row)?);
        }
        Ok(())
    }

    /// What an event that wrote this row would say of it.
    pub(super) fn named<E: Tagged>(&self, row: &E::Model) -> Result<RowChange> {
        named::<E>(self.tags.as_ref(), row)
    }
}

impl WriteTx {
    /// Reads, inside the write.
    #[must_use]
    pub fn read(&self) -> &ReadTx {
        &self.read
    }

    pub(super) fn tx(&self) -> &Tx {
        &self.read.tx
    }

    pub(super) fn tags(&self) -> &dyn RowMac {
        self.read.tags.as_ref()
    }

    /// What this write read and wrote.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.read.ledger
    }

    /// The end of the log, as locked.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// The time of the event of this write, by the clock of the store and never before the event before (docs/lifecycle.md#rule-11).
    #[must_use]
    pub fn time(&self) -> Micros {
        self.time
    }

    /// The last revision that changed a role binding of this log, what this write did included.
    #[must_use]
    pub fn access_revision(&self) -> i64 {
        self.access_revision
    }

    /// The next event changes a role binding.
    pub(super) async fn access_changes(&mut self) -> Result<()> {
        self.access_revision = self.head.next().revision;
        let row = namespaces::ActiveModel { access_revision: Set(self.access_revision), ..Default::default() };
        update_one(self.tx(), row, namespaces::Column::Id.eq(self.namespace.as_str())).await
    }

    /// Whether an import of the namespace was not finished when this write began.
    #[must_use]
    pub fn is_importing(&self) -> bool {
        self.is_importing
    }

    /// What the namespace may use, as far as that was said for it, as locked.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn quotas(&self) -> Result<Quotas> {
        let Authenticated(row) = self.read.proven::<namespaces::Entity>(self.row.clone())?;
        rows::quotas(&row.settings)
    }

    /// What the namespace uses, with what this write added.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Counts what was added: it stands in the row from the event on.
    pub(super) fn usage_mut(&mut self) -> &mut Usage {
        &mut self.usage
    }

    /// Appends an event of this write, which says `payload`, moves its pointers and the head. Only PublishVersions has several.
    ///
    /// # Errors
    /// `INTERNAL` when the event does not stand at head + 1 with the head's hash.
    pub async fn append(&mut self, event: &Event, payload: &Payload) -> Result<()> {
        if event.cursor != self.head.next() {
            return Err(Error::internal("an event was made for another place of the log"));
        }
        self.add(event, payload.policy.as_ref()).await?;
        if !payload.changes.is_empty() {
            self.move_pointers(event.cursor.revision, &payload.changes).await?;
        }
        Ok(())
    }

    /// Appends the event that raises the epoch of this log. It moves nothing.
    ///
    /// # Errors
    /// `INTERNAL` when the event does not stand at the next revision of a higher epoch with the head's hash.
    pub async fn raise_epoch(&mut self, event: &Event) -> Result<()> {
        let is_raised = event.cursor.epoch > self.head.cursor.epoch;
        if !is_raised || event.cursor != self.head.next_epoch(event.cursor.epoch) {
            return Err(Error::internal("an epoch was raised at another place of the log"));
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

    pub(super) fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// Makes it so, then runs `after`. A caller that goes away, or that waited long enough, takes neither with it: both are
    /// done in a task of their own.
    ///
    /// # Errors
    /// `OUTCOME_UNKNOWN`: nobody knows whether it is.
    pub async fn commit(mut self, after: impl FnOnce() + Send + 'static) -> Result<()> {
        // A failed report of an open version is kept without an event; everything else an event names.
        if self.take_written().iter().any(|row| row.table != REPORTS) {
            return Err(Error::internal("a row was written that no event names"));
        }
        let Self { read, store, namespace, head, .. } = self;
        let (inner, confirmation) = (Arc::clone(&store.inner), store.clone().confirm_event(namespace.clone(), head));
        let noted = move || {
            inner.memory.note(&namespace, head);
            inner.committed.notify_one();
            after();
        };
        store.commit(read.tx, confirmation, noted).await
    }
}
