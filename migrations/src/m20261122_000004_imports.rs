//! Imports: histories of other stores, their sources, and the signatures of their versions.

use sea_orm_migration::prelude::*;

use crate::dialect::{execute, refuse, refuse_truncate};

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261122_000004_imports"
    }
}

const TABLES: &[&str] = &[
    // Position 1 is the history that was imported, 2 what that store had imported before, and so on.
    "CREATE TABLE imports (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        position BIGINT NOT NULL,
        store TEXT NOT NULL,
        source {text} NOT NULL,
        head_epoch BIGINT NOT NULL,
        head_revision BIGINT NOT NULL,
        head_hash {blob} NOT NULL,
        jwks TEXT NOT NULL,
        seal_jwks TEXT NOT NULL,
        reached_epoch BIGINT NOT NULL,
        reached_revision BIGINT NOT NULL,
        reached_hash {blob} NOT NULL,
        items BIGINT NOT NULL,
        state TEXT NOT NULL,
        importer TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, position))",
    // Events of other stores; `events` has those of this one.
    "CREATE TABLE imported_events (
        namespace {text} NOT NULL,
        position BIGINT NOT NULL,
        revision BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        payload {blob} NOT NULL,
        prev_hash {blob} NOT NULL,
        hash {blob} NOT NULL,
        seal {blob} NOT NULL,
        seal_key_id TEXT NOT NULL,
        statement TEXT NOT NULL,
        PRIMARY KEY (namespace, position, revision),
        FOREIGN KEY (namespace, position) REFERENCES imports (namespace, position))",
    // The original manifests of an imported version, newest first, as JSON. NULL: made in this store.
    "ALTER TABLE versions ADD COLUMN origin_manifests TEXT",
    // 1 while an import is not finished: no other change is allowed then.
    "ALTER TABLE namespaces ADD COLUMN importing BIGINT NOT NULL DEFAULT 0",
];

const ALWAYS: &str = "1 = 1";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        refuse(manager, "imported_events", "UPDATE", ALWAYS).await?;
        refuse(manager, "imported_events", "DELETE", ALWAYS).await?;
        refuse_truncate(manager, "imported_events").await
    }
}
