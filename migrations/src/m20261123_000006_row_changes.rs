//! The last event that named each row: decisions compare the rows that they read with it.

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
    // An index of the events: it is not trusted, since the event that it leads to is verified. It has no foreign key, which would
    // lock the namespaces while it is filled.
    "CREATE TABLE row_changes (
        namespace {text} NOT NULL,
        table_name {text} NOT NULL,
        row_key {text} NOT NULL,
        revision BIGINT NOT NULL,
        PRIMARY KEY (namespace, table_name, row_key))",
];

/// The tables whose rows decisions depend on, as in `store::row_changes`.
const DECIDING: &str = "'approvals', 'imports', 'namespaces', 'policies', 'versions'";

/// Returns the expressions for the rows that an event's payload names: their table, their key, and their source.
fn rows_of(backend: DbBackend, event: &str) -> [String; 3] {
    match backend {
        DbBackend::Postgres => [
            "r.value ->> 'table'".to_owned(),
            "r.value ->> 'key'".to_owned(),
            format!(
                "jsonb_array_elements(coalesce(convert_from({event}.payload, 'UTF8')::jsonb -> 'rows', '[]'::jsonb)) AS r(value)"
            ),
        ],
        _ => [
            "json_extract(r.value, '$.table')".to_owned(),
            "json_extract(r.value, '$.key')".to_owned(),
            format!("json_each(CAST({event}.payload AS TEXT), '$.rows') AS r"),
        ],
    }
}

/// Returns the statement that fills the index from the existing events.
fn fill(backend: DbBackend) -> String {
    let [table, key, rows] = rows_of(backend, "e");
    format!(
        "INSERT INTO row_changes (namespace, table_name, row_key, revision) \
         SELECT e.namespace, {table}, {key}, max(e.revision) FROM events e, {rows} \
         WHERE {table} IN ({DECIDING}) GROUP BY e.namespace, {table}, {key}"
    )
}

/// Returns the trigger that updates the index with each event, also when the former version of the server writes it during an upgrade.
fn follow(backend: DbBackend) -> String {
    let index = index_rows(backend, DECIDING);
    match backend {
        DbBackend::Postgres => format!(
            "CREATE FUNCTION events_index_rows() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN {index} RETURN NULL; END $$; \
             CREATE TRIGGER events_index_rows AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION events_index_rows();"
        ),
        _ => format!("CREATE TRIGGER events_index_rows AFTER INSERT ON events FOR EACH ROW BEGIN {index} END;"),
    }
}

/// Returns the statement of the trigger: it enters the rows of these tables that a new event names.
pub(crate) fn index_rows(backend: DbBackend, deciding: &str) -> String {
    let [table, key, rows] = rows_of(backend, "NEW");
    format!(
        "INSERT INTO row_changes (namespace, table_name, row_key, revision) \
         SELECT NEW.namespace, {table}, {key}, NEW.revision FROM {rows} WHERE {table} IN ({deciding}) \
         ON CONFLICT (namespace, table_name, row_key) DO UPDATE SET revision = excluded.revision;"
    )
}

/// Returns the statement that makes the trigger enter the rows of these tables from now on.
pub fn index_rows_of(backend: DbBackend, tables: &str) -> String {
    let index = index_rows(backend, tables);
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
        // The trigger is made first: from then on no event is missed, and none is written until the index is filled.
        for sql in [follow, fill] {
            manager.get_connection().execute_unprepared(&sql(manager.get_database_backend())).await?;
        }
        Ok(())
    }
}
