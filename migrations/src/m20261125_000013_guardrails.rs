//! Guardrails, one set for each namespace and one for the store.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;
use crate::m20261123_000006_row_changes::index_rows_of;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000013_guardrails"
    }
}

const TABLES: &[&str] = &[
    // `scope` is `namespace`, or `store` in the row of `system`: the set that holds in every namespace. `guardrails` is JSON.
    "CREATE TABLE guardrails (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        scope {text} NOT NULL,
        guardrails TEXT NOT NULL,
        etag BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, scope))",
];

/// The tables whose rows decisions depend on, as in `store::transaction::ledger`.
const DECIDING: &str = "'approvals', 'guardrails', 'imports', 'namespaces', 'policies', 'versions'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        manager.get_connection().execute_unprepared(&index_rows_of(manager.get_database_backend(), DECIDING)).await?;
        Ok(())
    }
}
