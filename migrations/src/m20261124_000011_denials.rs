//! Who was refused what, how often and when.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000011_denials"
    }
}

const TABLES: &[&str] = &[
    // `id` stands for principal, method, reason and permission: equal refusals are one row. Nothing is decided by it.
    "CREATE TABLE denials (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        id {text} NOT NULL,
        principal {text} NOT NULL,
        method {text} NOT NULL,
        reason {text} NOT NULL,
        permission {text} NOT NULL,
        count BIGINT NOT NULL,
        first_time BIGINT NOT NULL,
        last_time BIGINT NOT NULL,
        PRIMARY KEY (namespace, id))",
    // The surplus of a namespace is found by it.
    "CREATE INDEX denials_newest ON denials (namespace, last_time)",
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
