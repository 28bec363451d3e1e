//! The first schema: namespaces, policies, versions, contents, reports, the log, its pointers, and idempotency.
//!
//! Times are microseconds since 1970 in UTC. Published versions, contents and the log never change: triggers refuse it.

use sea_orm_migration::prelude::*;

use crate::dialect::{execute, refuse, refuse_truncate};

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261121_000001_lifecycle"
    }
}

const TABLES: &[&str] = &[
    "CREATE TABLE store_meta (name {text} PRIMARY KEY, value TEXT NOT NULL)",
    // `policies`, `versions` and `content_bytes` are the usage of the namespace, counted in the transaction that adds to it.
    "CREATE TABLE namespaces (
        id {text} PRIMARY KEY,
        description TEXT NOT NULL,
        settings TEXT NOT NULL,
        epoch BIGINT NOT NULL,
        head_revision BIGINT NOT NULL,
        head_hash {blob} NOT NULL,
        access_revision BIGINT NOT NULL,
        policies BIGINT NOT NULL,
        versions BIGINT NOT NULL,
        content_bytes BIGINT NOT NULL,
        etag BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        tag {blob} NOT NULL)",
    "CREATE TABLE policies (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        id {text} NOT NULL,
        kind TEXT NOT NULL,
        description TEXT NOT NULL,
        settings TEXT NOT NULL,
        latest_version BIGINT NOT NULL,
        active_version BIGINT NOT NULL,
        active_revision BIGINT NOT NULL,
        etag BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        update_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, id))",
    "CREATE TABLE contents (digest {text} PRIMARY KEY, bytes {blob} NOT NULL)",
    "CREATE TABLE versions (
        namespace {text} NOT NULL,
        policy {text} NOT NULL,
        number BIGINT NOT NULL,
        state TEXT NOT NULL,
        label TEXT,
        digest {text} NOT NULL REFERENCES contents (digest),
        size_bytes BIGINT NOT NULL,
        content_type TEXT NOT NULL,
        change_note TEXT NOT NULL,
        requires TEXT NOT NULL,
        base_version BIGINT NOT NULL,
        source_version BIGINT NOT NULL,
        author TEXT NOT NULL,
        publisher TEXT NOT NULL,
        manifest TEXT NOT NULL,
        etag BIGINT NOT NULL,
        create_time BIGINT NOT NULL,
        stage_time BIGINT,
        publish_time BIGINT,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, policy, number),
        FOREIGN KEY (namespace, policy) REFERENCES policies (namespace, id))",
    // The label of an ended version can be used again.
    "CREATE UNIQUE INDEX versions_live_label ON versions (namespace, policy, label)
        WHERE label IS NOT NULL AND state IN ('DRAFT', 'STAGED', 'PUBLISHED')",
    "CREATE INDEX versions_open ON versions (namespace, policy) WHERE state IN ('DRAFT', 'STAGED')",
    "CREATE TABLE reports (
        namespace {text} NOT NULL,
        policy {text} NOT NULL,
        number BIGINT NOT NULL,
        body TEXT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, policy, number),
        FOREIGN KEY (namespace, policy, number) REFERENCES versions (namespace, policy, number))",
    "CREATE TABLE events (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        revision BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        policy {text},
        time BIGINT NOT NULL,
        payload {blob} NOT NULL,
        prev_hash {blob} NOT NULL,
        hash {blob} NOT NULL,
        seal {blob} NOT NULL,
        seal_key_id TEXT NOT NULL,
        statement TEXT NOT NULL,
        PRIMARY KEY (namespace, revision))",
    "CREATE INDEX events_time ON events (namespace, time, revision)",
    "CREATE INDEX events_policy ON events (namespace, policy, revision)",
    // The moves of each pointer: the active set at any revision is the newest row of each policy up to it.
    "CREATE TABLE pointer_changes (
        namespace {text} NOT NULL,
        policy {text} NOT NULL,
        revision BIGINT NOT NULL,
        version BIGINT NOT NULL,
        PRIMARY KEY (namespace, policy, revision),
        FOREIGN KEY (namespace, revision) REFERENCES events (namespace, revision),
        FOREIGN KEY (namespace, policy) REFERENCES policies (namespace, id))",
    "CREATE TABLE idempotency (
        principal {text} NOT NULL,
        method {text} NOT NULL,
        request_id {text} NOT NULL,
        fingerprint TEXT NOT NULL,
        answer TEXT NOT NULL,
        expire_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (principal, method, request_id))",
    "CREATE INDEX idempotency_expire ON idempotency (expire_time)",
];

/// The content and identity of a version never change; a published one never changes at all.
const VERSION_CHANGED: &str = "OLD.state = 'PUBLISHED' OR OLD.namespace <> NEW.namespace OR OLD.policy <> NEW.policy \
     OR OLD.number <> NEW.number OR OLD.digest <> NEW.digest OR OLD.author <> NEW.author \
     OR OLD.label IS DISTINCT FROM NEW.label";

const ALWAYS: &str = "1 = 1";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        for table in ["contents", "events", "pointer_changes"] {
            refuse(manager, table, "UPDATE", ALWAYS).await?;
            refuse(manager, table, "DELETE", ALWAYS).await?;
            refuse_truncate(manager, table).await?;
        }
        refuse(manager, "versions", "UPDATE", VERSION_CHANGED).await?;
        refuse(manager, "versions", "DELETE", ALWAYS).await?;
        refuse_truncate(manager, "versions").await
    }
}
