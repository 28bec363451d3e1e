//! Subscribers with what each one runs, and the recorded runs.
//!
//! Neither table has a foreign key to `namespaces`: PostgreSQL would lock that row for each insert, and writes of policies hold
//! that same lock. The parents of a run are rows that never change.

use sea_orm_migration::prelude::*;

use crate::dialect::{execute, refuse};

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261121_000002_watch_plane"
    }
}

const TABLES: &[&str] = &[
    // Cursors are 0, 0 when there is none. The values of a stream and of a report are in separate columns.
    "CREATE TABLE subscribers (
        namespace {text} NOT NULL,
        id {text} NOT NULL,
        labels TEXT NOT NULL,
        policies TEXT NOT NULL,
        holder TEXT NOT NULL,
        lease_end_time BIGINT NOT NULL,
        last_seen_time BIGINT NOT NULL,
        applied_epoch BIGINT NOT NULL,
        applied_revision BIGINT NOT NULL,
        applied_matches BOOLEAN NOT NULL,
        rejected_epoch BIGINT NOT NULL,
        rejected_revision BIGINT NOT NULL,
        reason TEXT NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (namespace, id))",
    "CREATE INDEX subscribers_lease ON subscribers (namespace, lease_end_time)",
    "CREATE INDEX subscribers_seen ON subscribers (last_seen_time)",
    "CREATE TABLE runs (
        namespace {text} NOT NULL,
        id {text} NOT NULL,
        policy {text} NOT NULL,
        version BIGINT NOT NULL,
        digest TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        revision BIGINT NOT NULL,
        active_revision BIGINT NOT NULL,
        recorder TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, id),
        FOREIGN KEY (namespace, policy, version) REFERENCES versions (namespace, policy, number),
        FOREIGN KEY (namespace, revision) REFERENCES events (namespace, revision))",
    "CREATE INDEX runs_time ON runs (create_time)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        // Rows of runs may be deleted: how long they are kept is the operator's decision.
        refuse(manager, "runs", "UPDATE", "1 = 1").await
    }
}
