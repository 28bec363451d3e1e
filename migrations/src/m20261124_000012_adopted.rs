//! Who wrote versions that existed before they came here.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000012_adopted"
    }
}

const TABLES: &[&str] = &[
    // JSON. NULL: made here, and then neither the row's tag nor its manifest has it.
    "ALTER TABLE versions ADD COLUMN adopted TEXT",
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
