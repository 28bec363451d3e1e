//! The rows of a write: those that it read, for the comparison with the log, and those that it wrote, for its event.
//!
//! The MAC of a row shows that this server wrote it, not that it is the newest. So each write records the rows on which its decision is
//! based, and the table `row_changes`, which a trigger updates with each event, leads to the event that named each of them last.
//! Invariant: the index is not trusted. It can only lead to an event, which is verified.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::event::RowChange;
use crate::domain::name::PolicyId;
use crate::domain::policy::Policy;

/// The tables whose rows decide. The others are verified otherwise: role bindings by the digest of all of them, keys by the log of
/// `system`, manifests by their signatures; a report may be written without an event.
const DECIDING: [&str; 7] = ["approvals", GUARDRAILS, "imports", NAMESPACES, "policies", "schedules", "versions"];

/// The table whose rows are named in the log of `system`.
pub(in crate::store) const NAMESPACES: &str = "namespaces";

/// The table of guardrails, and the key of the set of the store, which is named in the log of `system`.
pub(in crate::store) const GUARDRAILS: &str = "guardrails";
pub(in crate::store) const STORE_GUARDRAILS: &str = "store";

/// A row by its table and its key.
pub(in crate::store) type Key = (String, String);

/// The rows that a write read, or found absent, and wrote. The ledger of a read stays empty: its rows decide nothing.
#[derive(Debug)]
pub(in crate::store) struct Ledger {
    is_of_write: bool,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
pub(in crate::store) struct Rows {
    /// Rows that were read before they were written, in their state at that time.
    pub(in crate::store) read: BTreeMap<Key, RowChange>,
    /// Rows that no event names yet.
    pub(in crate::store) written: BTreeMap<Key, RowChange>,
    /// Rows that an earlier event of this write names: nothing else verifies them before it is committed.
    pub(in crate::store) named: BTreeSet<Key>,
    /// How often the settings of each policy had been written when it was read first.
    pub(in crate::store) policies: BTreeMap<PolicyId, i64>,
}

pub(in crate::store) fn key_of(row: &RowChange) -> Key {
    (row.table.clone(), row.key.clone())
}

/// Whether decisions are based on rows of this table, and the index has them.
#[must_use]
pub fn decides(table: &str) -> bool {
    DECIDING.contains(&table)
}

impl Ledger {
    pub(in crate::store) fn of_view() -> Self {
        Self { is_of_write: false, rows: Mutex::default() }
    }

    pub(in crate::store) fn of_write() -> Self {
        Self { is_of_write: true, rows: Mutex::default() }
    }

    pub(in crate::store) fn is_of_write(&self) -> bool {
        self.is_of_write
    }

    pub(in crate::store) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a row was written.
    pub(in crate::store) fn has_written(&self) -> bool {
        let rows = self.rows();
        !(rows.written.is_empty() && rows.named.is_empty())
    }

    /// Records a row that was read, unless this write wrote it.
    pub(in crate::store) fn note_read(&self, row: RowChange) {
        let (mut rows, key) = (self.rows(), key_of(&row));
        if !rows.written.contains_key(&key) && !rows.named.contains(&key) {
            rows.read.entry(key).or_insert(row);
        }
    }

    /// Records a policy that was read, unless it was read before.
    pub(in crate::store) fn note_policy(&self, policy: &Policy) {
        if self.is_of_write {
            self.rows().policies.entry(policy.name.policy.clone()).or_insert(policy.edits);
        }
    }
}
