//! The newest set that each subscriber rejected, also after it applied a later one.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261123_000008_rejections"
    }
}

const TABLES: &[&str] = &[
    // Revision 0: none. The version of the server before this one, which runs beside it during an upgrade, writes rows without them.
    "ALTER TABLE subscribers ADD COLUMN refused_epoch BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE subscribers ADD COLUMN refused_revision BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE subscribers ADD COLUMN refused_reason {text} NOT NULL DEFAULT ''",
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
