//! Whose each subscriber id is.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261123_000007_subscriber_owners"
    }
}

const TABLES: &[&str] = &[
    // Empty: nobody's yet, and then of the first who uses it. The version of the server before this one, which runs beside it
    // during an upgrade, writes rows without it.
    "ALTER TABLE subscribers ADD COLUMN owner {text} NOT NULL DEFAULT ''",
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
