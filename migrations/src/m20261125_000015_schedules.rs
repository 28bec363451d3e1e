//! Schedules, and the index of those that are due.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;
use crate::m20261123_000006_row_changes::index_rows_of;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261125_000015_schedules"
    }
}

const STATEMENTS: &[&str] = &[
    // `entries` is JSON. `next_time` is NULL unless the schedule is pending.
    "CREATE TABLE schedules (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        id {text} NOT NULL,
        entries TEXT NOT NULL,
        time_zone TEXT NOT NULL,
        state TEXT NOT NULL,
        creator TEXT NOT NULL,
        reason TEXT NOT NULL,
        base_epoch BIGINT NOT NULL,
        base_revision BIGINT NOT NULL,
        handled_until BIGINT NOT NULL,
        next_time BIGINT,
        last_due_time BIGINT,
        problem TEXT NOT NULL,
        etag BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, id))",
    // Whoever asks what is due, reads nothing of schedules that ended, wait, or are due later.
    "CREATE INDEX schedules_due ON schedules (next_time, namespace, id) WHERE next_time IS NOT NULL",
    "CREATE INDEX schedules_open ON schedules (namespace) WHERE state IN ('PENDING', 'SUSPENDED')",
];

/// The tables whose rows decisions depend on, as in `store::transaction::ledger`.
const DECIDING: &str = "'approvals', 'guardrails', 'imports', 'namespaces', 'policies', 'schedules', 'versions'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, STATEMENTS).await?;
        let index = index_rows_of(manager.get_database_backend(), DECIDING);
        manager.get_connection().execute_unprepared(&index).await?;
        Ok(())
    }
}
