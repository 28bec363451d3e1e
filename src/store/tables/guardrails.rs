//! Queries of guardrails: one set for each namespace, and that of the store in the row of `system`.
//!
//! Invariant: no decision takes a set that was deleted for one that was never set; `note_absent_row` has it compared
//! with the log.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::event::RowChange;
use crate::domain::guardrail::GuardrailSet;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::store::authenticated::{Authenticated, table};
use crate::store::entity::guardrails::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::ledger::STORE_GUARDRAILS;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// The key of a namespace's own set.
const OWN: &str = "namespace";

fn scope(namespace: &NamespaceId) -> &'static str {
    if namespace.is_system() { STORE_GUARDRAILS } else { OWN }
}

impl ReadTx {
    /// Returns the guardrails of the store, and those of a namespace, in one query; empty sets where none were set.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn guardrails(&self, namespace: &NamespaceId) -> Result<[GuardrailSet; 2]> {
        let store = NamespaceId::system();
        let query = Entity::find().filter(Column::Namespace.is_in([store.as_str(), namespace.as_str()]));
        let rows = query.all(&self.tx).await.map_err(failed)?;
        Ok([self.set_of(&rows, store)?, self.set_of(&rows, namespace.clone())?])
    }

    fn set_of(&self, rows: &[Model], namespace: NamespaceId) -> Result<GuardrailSet> {
        let Some(row) = rows.iter().find(|row| row.namespace == namespace.as_str()) else {
            // A row that was deleted must not be taken for one that never was.
            self.note_absent_row(RowChange {
                table: table::<Entity>(),
                key: scope(&namespace).to_owned(),
                digest: None,
            });
            return Ok(GuardrailSet::empty(namespace));
        };
        let Authenticated(row) = self.authenticated::<Entity>(row.clone())?;
        Ok(GuardrailSet {
            namespace,
            guardrails: rows::json("guardrails", &row.guardrails)?,
            edits: row.etag,
            update_time: Micros(row.update_time),
        })
    }
}

impl WriteTx {
    /// Writes the set of the locked namespace. The next event of this write names its row.
    pub async fn put_guardrails(&self, set: &GuardrailSet) -> Result<()> {
        let row = Model {
            namespace: set.namespace.to_string(),
            scope: scope(&set.namespace).to_owned(),
            guardrails: rows::to_json(&set.guardrails)?,
            etag: set.edits,
            update_time: set.update_time.0,
            tag: Vec::new(),
        };
        self.put_row::<Entity>(row).await
    }
}
