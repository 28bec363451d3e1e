//! Authority: role bindings, approvals, signing keys, manifests that were signed again, and revoked tokens.

use sea_orm_migration::prelude::*;

use crate::dialect::{execute, refuse, refuse_truncate};

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261122_000003_authority"
    }
}

const TABLES: &[&str] = &[
    // `namespace` is the log of its event: `system` for a binding that applies everywhere.
    "CREATE TABLE role_bindings (
        namespace {text} NOT NULL REFERENCES namespaces (id),
        id {text} NOT NULL,
        role TEXT NOT NULL,
        member {text} NOT NULL,
        creator TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        revision BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, id))",
    "CREATE UNIQUE INDEX role_bindings_member ON role_bindings (namespace, member, role)",
    // `revision` is the event of the decision.
    "CREATE TABLE approvals (
        namespace {text} NOT NULL,
        policy {text} NOT NULL,
        number BIGINT NOT NULL,
        approver {text} NOT NULL,
        digest {text} NOT NULL,
        reason TEXT NOT NULL,
        create_time BIGINT NOT NULL,
        expire_time BIGINT NOT NULL,
        revision BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, policy, number, approver),
        FOREIGN KEY (namespace, policy, number) REFERENCES versions (namespace, policy, number))",
    // A time is NULL until its event.
    "CREATE TABLE signing_keys (
        key_id {text} PRIMARY KEY,
        algorithm TEXT NOT NULL,
        jwk TEXT NOT NULL,
        state TEXT NOT NULL,
        prepare_time BIGINT NOT NULL,
        activate_time BIGINT,
        retire_time BIGINT,
        revoke_time BIGINT,
        revision BIGINT NOT NULL,
        tag {blob} NOT NULL)",
    // Manifests of published versions whose key was revoked, signed again by another key. The newest counts.
    "CREATE TABLE manifests (
        namespace {text} NOT NULL,
        policy {text} NOT NULL,
        number BIGINT NOT NULL,
        key_id {text} NOT NULL,
        manifest TEXT NOT NULL,
        revision BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, policy, number, key_id),
        FOREIGN KEY (namespace, policy, number) REFERENCES versions (namespace, policy, number))",
    // `kind` defines `value`: TOKEN, a `jti`; SUBJECT, an actor whose tokens issued before `time` are revoked.
    "CREATE TABLE revoked_tokens (
        kind TEXT NOT NULL,
        value {text} NOT NULL,
        time BIGINT NOT NULL,
        revision BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (kind, value))",
];

const ALWAYS: &str = "1 = 1";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        execute(manager, TABLES).await?;
        refuse(manager, "manifests", "UPDATE", ALWAYS).await?;
        refuse(manager, "manifests", "DELETE", ALWAYS).await?;
        refuse_truncate(manager, "manifests").await
    }
}
