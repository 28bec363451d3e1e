//! Which event named each row last: what a decision compares the rows that it reads with.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261123_000006_row_changes"
    }
}

const TABLES: &[&str] = &[
    // An index of the events, kept by each write: nothing in it is believed, the event that it leads to is verified.
    "CREATE TABLE row_changes (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        table_name {text} NOT NULL,
        row_key {text} NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (namespace, table_name, row_key))",
];

/// The tables whose rows decide, as in `store::row_changes`.
const DECIDING: &str = "'approvals', 'imports', 'namespaces', 'policies', 'versions'";

/// Reads what the events that are there say.
fn fill(backend: DbBackend) -> String {
    let (table, key, rows) = match backend {
        DbBackend::Postgres => (
            "r.value ->> 'table'",
            "r.value ->> 'key'",
            "jsonb_array_elements(coalesce(convert_from(e.payload, 'UTF8')::jsonb -> 'rows', '[]'::jsonb)) AS r(value)",
        ),
        _ => (
            "json_extract(r.value, '$.table')",
            "json_extract(r.value, '$.key')",
            "json_each(CAST(e.payload AS TEXT), '$.rows') AS r",
        ),
    };
    format!(
        "INSERT INTO row_changes (namespace, table_name, row_key, revision) \
         SELECT e.namespace, {table}, {key}, max(e.revision) FROM events e, {rows} \
         WHERE {table} IN ({DECIDING}) GROUP BY e.namespace, {table}, {key}"
    )
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        manager.get_connection().execute_unprepared(&fill(manager.get_database_backend())).await?;
        Ok(())
    }
}
