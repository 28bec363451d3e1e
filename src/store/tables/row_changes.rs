//! Queries of the table `row_changes`: which event named each row last.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::event::{RowChange, SettingsRead};
use crate::domain::name::NamespaceId;
use crate::store::entity::row_changes::{Column, Entity};
use crate::store::error::failed;
use crate::store::transaction::ledger::{GUARDRAILS, Key, NAMESPACES, STORE_GUARDRAILS, decides, key_of};
use crate::store::transaction::views::{ReadTx, WriteTx};

/// The table whose rows a policy counts: an authenticated policy row states which numbers were never used.
const COUNTED: &str = "versions";
/// Number of keys asked for in one statement. SQLite takes 32,766 parameters.
const KEYS_PER_QUERY: usize = 500;

/// A row, with the log that names it.
pub type LoggedRow = (NamespaceId, RowChange);

impl ReadTx {
    /// Returns the revision of the event that named each of these rows last, by log, table and key. Rows that no event named are left out.
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

    /// Returns the whole index of a log, by table and key.
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
    /// Records that a row is added which was not read before: the log must not name it, or have removed it last. Otherwise somebody
    /// deleted the row, and the same change would be made twice.
    pub(in crate::store) fn note_absent(&self, row: &RowChange) {
        if decides(&row.table) && row.table != COUNTED {
            self.ledger().note_read(RowChange { digest: None, ..row.clone() });
        }
    }

    /// Records a row for the next event of this write.
    pub(in crate::store) fn note(&self, row: RowChange) {
        self.ledger().rows().written.insert(key_of(&row), row);
    }

    /// Takes the rows that were written since the last event, for the next event of this write to name.
    #[must_use]
    pub fn take_written(&mut self) -> Vec<RowChange> {
        let mut rows = self.ledger().rows();
        let written = std::mem::take(&mut rows.written);
        rows.named.extend(written.keys().cloned());
        written.into_values().collect()
    }

    /// Takes the settings that were read since the last call, in order of policies.
    #[must_use]
    pub fn take_settings_read(&mut self) -> Vec<SettingsRead> {
        let read = std::mem::take(&mut self.ledger().rows().policies);
        read.into_iter().map(|(policy, edits)| SettingsRead { policy, edits }).collect()
    }

    /// Forgets the rows and the settings that were read, so that they do not count as read for the next decision.
    pub fn forget_read(&mut self) {
        self.ledger().rows().read.clear();
        self.ledger().rows().policies.clear();
    }

    /// Takes the deciding rows that were read, or found absent, since the last call, each with the log that names it.
    #[must_use]
    pub fn take_read(&self) -> Vec<LoggedRow> {
        let read = std::mem::take(&mut self.ledger().rows().read);
        let log_of = |row: &RowChange| match (row.table.as_str(), row.key.as_str()) {
            (NAMESPACES, _) | (GUARDRAILS, STORE_GUARDRAILS) => NamespaceId::system(),
            _ => self.namespace().clone(),
        };
        read.into_values().map(|row| (log_of(&row), row)).collect()
    }
}
