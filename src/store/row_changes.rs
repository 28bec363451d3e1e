//! The rows of a write: those that it read, for the comparison with the log, and those that it wrote, for its event.
//!
//! The tag of a row shows that this server wrote it, not that it is the newest. So each write notes the rows that its decision
//! is made on, and the table `row_changes`, which a trigger keeps with each event, leads to the event that named each of them last.
//! Invariant: the index is not believed. It can only lead to an event, which is verified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use super::entity::row_changes::{Column, Entity};
use super::error::failed;
use super::transaction::{ReadTx, WriteTx};
use crate::domain::Result;
use crate::domain::event::{RowChange, SettingsRead};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::policy::Policy;

/// The tables whose rows decide. The others are proven otherwise: role bindings by the digest of all of them, keys by the log
/// of `system`, manifests by their signatures; a report may be written without an event.
const DECIDING: [&str; 5] = ["approvals", "imports", NAMESPACES, "policies", "versions"];
/// The table whose rows a policy counts: a proven policy row says which numbers were never used.
const COUNTED: &str = "versions";
/// The table whose rows are named in the log of `system`.
const NAMESPACES: &str = "namespaces";
/// Keys asked for in one statement. SQLite takes 32,766 parameters.
const KEYS_PER_QUERY: usize = 500;

/// A row by its table and its key.
type Key = (String, String);

/// What a write read, or found absent, and wrote. That of a view stays empty: its rows decide nothing.
#[derive(Debug)]
pub(super) struct Ledger {
    is_of_write: bool,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// Rows that were read before they were written, as they were.
    read: BTreeMap<Key, RowChange>,
    /// Rows that no event names yet.
    written: BTreeMap<Key, RowChange>,
    /// Rows that an earlier event of this write names: nothing else proves them before it is committed.
    named: BTreeSet<Key>,
    /// How often the settings of a policy had been written when it was read first.
    policies: BTreeMap<PolicyId, i64>,
}

fn key_of(row: &RowChange) -> Key {
    (row.table.clone(), row.key.clone())
}

/// Whether a decision is made on rows of this table, and the index has them.
#[must_use]
pub fn decides(table: &str) -> bool {
    DECIDING.contains(&table)
}

impl Ledger {
    pub(super) fn of_view() -> Self {
        Self { is_of_write: false, rows: Mutex::default() }
    }

    pub(super) fn of_write() -> Self {
        Self { is_of_write: true, rows: Mutex::default() }
    }

    pub(super) fn is_of_write(&self) -> bool {
        self.is_of_write
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a row was written.
    pub(super) fn has_written(&self) -> bool {
        let rows = self.rows();
        !(rows.written.is_empty() && rows.named.is_empty())
    }

    /// Notes a row that was read, unless this write wrote it.
    pub(super) fn note_read(&self, row: RowChange) {
        let (mut rows, key) = (self.rows(), key_of(&row));
        if !rows.written.contains_key(&key) && !rows.named.contains(&key) {
            rows.read.entry(key).or_insert(row);
        }
    }

    /// Notes a policy that was read, unless it was read before.
    pub(super) fn note_policy(&self, policy: &Policy) {
        if self.is_of_write {
            self.rows().policies.entry(policy.name.policy.clone()).or_insert(policy.edits);
        }
    }
}

/// A row, in the log that names it.
pub type LoggedRow = (NamespaceId, RowChange);

impl ReadTx {
    /// The revision of the event that named each of these rows last, by log, table and key. What no event named is left out.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn naming_revisions(&self, rows: &[LoggedRow]) -> Result<BTreeMap<(String, String, String), i64>> {
        let mut found = BTreeMap::new();
        for chunk in rows.chunks(KEYS_PER_QUERY) {
            let logs: BTreeSet<&str> = chunk.iter().map(|(log, _)| log.as_str()).collect();
            let tables: BTreeSet<&str> = chunk.iter().map(|(_, row)| row.table.as_str()).collect();
            let keys: BTreeSet<&str> = chunk.iter().map(|(_, row)| row.key.as_str()).collect();
            let query = Entity::find()
                .filter(Column::Namespace.is_in(logs))
                .filter(Column::TableName.is_in(tables))
                .filter(Column::RowKey.is_in(keys));
            let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
            found.extend(rows.map(|row| ((row.namespace, row.table_name, row.row_key), row.revision)));
        }
        Ok(found)
    }

    /// The whole index of a log, by table and key.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn row_changes(&self, log: &NamespaceId) -> Result<BTreeMap<Key, i64>> {
        let query = Entity::find().filter(Column::Namespace.eq(log.as_str()));
        let rows = query.all(&self.tx).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| ((row.table_name, row.row_key), row.revision)).collect())
    }
}

impl WriteTx {
    /// Notes that a row is added which was not read before: the log must know none, or have removed it last. Otherwise somebody
    /// took it away, and what it said would be said anew.
    pub(super) fn note_absent(&self, row: &RowChange) {
        if decides(&row.table) && row.table != COUNTED {
            self.ledger().note_read(RowChange { digest: None, ..row.clone() });
        }
    }

    /// Notes a row for the event of this write.
    pub(super) fn note(&self, row: RowChange) {
        self.ledger().rows().written.insert(key_of(&row), row);
    }

    /// What was written since the event before, for the next event of this write to name.
    #[must_use]
    pub fn take_written(&mut self) -> Vec<RowChange> {
        let mut rows = self.ledger().rows();
        let written = std::mem::take(&mut rows.written);
        rows.named.extend(written.keys().cloned());
        written.into_values().collect()
    }

    /// The settings that were read since the last time, in order of the policies.
    #[must_use]
    pub fn take_settings_read(&mut self) -> Vec<SettingsRead> {
        let read = std::mem::take(&mut self.ledger().rows().policies);
        read.into_iter().map(|(policy, edits)| SettingsRead { policy, edits }).collect()
    }

    /// The rows that were read, or found absent, since the last time and decide, each with the log that names it.
    #[must_use]
    pub fn take_read(&self) -> Vec<LoggedRow> {
        let read = std::mem::take(&mut self.ledger().rows().read);
        let log_of = |row: &RowChange| match row.table.as_str() {
            NAMESPACES => NamespaceId::system(),
            _ => self.namespace().clone(),
        };
        read.into_values().map(|row| (log_of(&row), row)).collect()
    }
}
