//! Indexes of what is new: moves of pointers by revision, and events by the transaction that wrote them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        "m20261125_000017_changes"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, &["CREATE INDEX pointer_changes_by_revision ON pointer_changes (namespace, revision)"])
            .await?;
        if manager.get_database_backend() != DbBackend::Postgres {
            // The one process that writes to SQLite knows what it committed.
            return Ok(());
        }
        let statements = [
            // Without a default in the same statement, which would rewrite the table. NULL: written before.
            "ALTER TABLE events ADD COLUMN transaction_id BIGINT",
            "ALTER TABLE events ALTER COLUMN transaction_id SET DEFAULT (pg_current_xact_id()::text::bigint)",
            "CREATE INDEX events_by_transaction ON events (transaction_id, namespace) WHERE transaction_id IS NOT NULL",
        ];
        execute(manager, &statements).await
    }
}
