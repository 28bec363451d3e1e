//! The differences between the two databases, and the triggers that keep rows from changing.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// A migration that consists of statements only, run in one transaction.
#[derive(Debug)]
pub struct Statements {
    pub name: &'static str,
    /// The statements, in the form of `execute`.
    pub statements: &'static [&'static str],
}

impl MigrationName for Statements {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Statements {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, self.statements).await
    }
}

/// Runs statements in which `{blob}` and `{text}` stand for the dialect's types.
///
/// `{text}` is for ids: compared by bytes on both databases, whatever the locale of the cluster.
pub async fn execute(manager: &SchemaManager<'_>, statements: &[&str]) -> Result<(), DbErr> {
    let (blob, text) = match manager.get_database_backend() {
        DbBackend::Postgres => ("BYTEA", "TEXT COLLATE \"C\""),
        _ => ("BLOB", "TEXT"),
    };
    for statement in statements {
        let sql = statement.replace("{blob}", blob).replace("{text}", text);
        manager.get_connection().execute_unprepared(&sql).await?;
    }
    Ok(())
}

/// Refuses an operation ("UPDATE" or "DELETE") on the rows of a table for which `when` holds (over `OLD` and `NEW`).
pub async fn refuse(manager: &SchemaManager<'_>, table: &str, operation: &str, when: &str) -> Result<(), DbErr> {
    let name = format!("{table}_refuse_{}", operation.to_lowercase());
    let message = format!("rows of {table} are immutable");
    let sql = match manager.get_database_backend() {
        DbBackend::Postgres => format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$; \
             CREATE TRIGGER {name} BEFORE {operation} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}();"
        ),
        _ => format!(
            "CREATE TRIGGER {name} BEFORE {operation} ON {table} FOR EACH ROW WHEN {when} \
             BEGIN SELECT RAISE(ABORT, '{message}'); END;"
        ),
    };
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}

/// Refuses TRUNCATE, which fires no row triggers. SQLite has no TRUNCATE.
pub async fn refuse_truncate(manager: &SchemaManager<'_>, table: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let sql = format!(
        "CREATE FUNCTION {table}_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN RAISE EXCEPTION 'rows of {table} are immutable' USING ERRCODE = 'integrity_constraint_violation'; END $$; \
         CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} EXECUTE FUNCTION {table}_refuse_truncate();"
    );
    manager.get_connection().execute_unprepared(&sql).await?;
    Ok(())
}
