//! What authors say of each version by name.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000010_annotations"
    }
}

const TABLES: &[&str] = &[
    // JSON, in order of the names. NULL: none, and then neither the row's tag nor its manifest has them.
    "ALTER TABLE versions ADD COLUMN annotations TEXT",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await
    }
}
