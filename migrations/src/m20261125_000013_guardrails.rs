//! Guardrails, one set for each namespace and one for the store.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::execute;
use crate::m20261123_000006_row_changes::index_rows;

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

/// Returns the statement that makes the trigger of `row_changes` follow the new table too.
fn follow(backend: DbBackend) -> String {
    let index = index_rows(backend, DECIDING);
    match backend {
        DbBackend::Postgres => format!(
            "CREATE OR REPLACE FUNCTION events_index_rows() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN {index} RETURN NULL; END $$;"
        ),
        _ => format!(
            "DROP TRIGGER events_index_rows; \
             CREATE TRIGGER events_index_rows AFTER INSERT ON events FOR EACH ROW BEGIN {index} END;"
        ),
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        manager.get_connection().execute_unprepared(&follow(manager.get_database_backend())).await?;
        Ok(())
    }
}
