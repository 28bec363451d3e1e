//! Runs of several policies: one row for each policy of a run, and how a run ended.
//!
//! The table `runs` stays compatible with the former version of the server, which runs concurrently during an upgrade: a run of one
//! named policy has the same row as before. A trigger makes the row of its policy, whichever version writes it.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::dialect::{execute, refuse};

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261124_000009_run_sets"
    }
}

const TABLES: &[&str] = &[
    // NULL for a run of one named policy: the MACs of rows leave out NULL columns, so earlier MACs stay valid.
    "ALTER TABLE runs ADD COLUMN policies BIGINT",
    "ALTER TABLE runs ADD COLUMN whole_set BOOLEAN",
    // The outcome that the row in run_ends proves, copied here for the indexes.
    "ALTER TABLE runs ADD COLUMN outcome {text} NOT NULL DEFAULT 'OPEN'",
    // The columns of `runs` in the same order: the MAC of a copied row is valid here too. `part` is NULL in such a row.
    "CREATE TABLE run_policies (
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
        part BIGINT,
        outcome {text} NOT NULL DEFAULT 'OPEN',
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, id, policy),
        FOREIGN KEY (namespace, id) REFERENCES runs (namespace, id) ON DELETE CASCADE)",
    "CREATE TABLE run_ends (
        namespace {text} NOT NULL,
        id {text} NOT NULL,
        outcome {text} NOT NULL,
        message TEXT NOT NULL,
        complete_time BIGINT NOT NULL,
        tag {blob} NOT NULL,
        PRIMARY KEY (namespace, id),
        FOREIGN KEY (namespace, id) REFERENCES runs (namespace, id) ON DELETE CASCADE)",
];

/// Lists of runs read each outcome separately, newest first: these indexes keep that independent of the number of other runs.
const INDEXES: &[&str] = &[
    "CREATE INDEX runs_of_outcome ON runs (namespace, outcome, create_time, id)",
    "CREATE INDEX run_policies_of_policy ON run_policies (namespace, policy, outcome, create_time, id, version)",
    "CREATE INDEX run_policies_of_version ON run_policies (namespace, policy, version, outcome, create_time, id)",
];

const COPIED: &str =
    "namespace, id, policy, version, digest, epoch, revision, active_revision, recorder, create_time, tag";

/// Returns the trigger that makes the row of the one policy for each run written without any, with the MAC of the run.
fn copy_new(backend: DbBackend) -> String {
    let values = COPIED.split(", ").map(|column| format!("NEW.{column}")).collect::<Vec<_>>().join(", ");
    let copy = format!("INSERT INTO run_policies ({COPIED}) VALUES ({values});");
    match backend {
        DbBackend::Postgres => format!(
            "CREATE FUNCTION runs_copy_policy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {copy} RETURN NULL; END $$; \
             CREATE TRIGGER runs_copy_policy AFTER INSERT ON runs FOR EACH ROW WHEN (NEW.policies IS NULL) \
             EXECUTE FUNCTION runs_copy_policy();"
        ),
        _ => format!(
            "CREATE TRIGGER runs_copy_policy AFTER INSERT ON runs FOR EACH ROW WHEN NEW.policies IS NULL BEGIN {copy} END;"
        ),
    }
}

/// Deletes the rows of a run together with it, also in a shell that does not enforce foreign keys, such as SQLite's.
const DELETE_WITH_RUN: &str = "CREATE TRIGGER runs_delete_parts AFTER DELETE ON runs FOR EACH ROW BEGIN \
     DELETE FROM run_policies WHERE namespace = OLD.namespace AND id = OLD.id; \
     DELETE FROM run_ends WHERE namespace = OLD.namespace AND id = OLD.id; END;";

/// Returns the condition for an update that is not the end of an open run, which sets the outcome and nothing else.
fn is_no_end(columns: &str) -> String {
    let changed = columns.split(", ").map(|column| format!("OLD.{column} IS DISTINCT FROM NEW.{column}"));
    let changed = changed.collect::<Vec<_>>().join(" OR ");
    format!("OLD.outcome <> 'OPEN' OR NEW.outcome = 'OPEN' OR {changed}")
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let drop_refusal = match backend {
            DbBackend::Postgres => "DROP TRIGGER runs_refuse_update ON runs; DROP FUNCTION runs_refuse_update();",
            _ => "DROP TRIGGER runs_refuse_update;",
        };
        let connection = manager.get_connection();
        execute(manager, TABLES).await?;
        // The trigger is made first: from then on no run is missed.
        connection.execute_unprepared(&copy_new(backend)).await?;
        connection
            .execute_unprepared(&format!("INSERT INTO run_policies ({COPIED}) SELECT {COPIED} FROM runs"))
            .await?;
        execute(manager, INDEXES).await?;
        connection.execute_unprepared(drop_refusal).await?;
        refuse(manager, "runs", "UPDATE", &is_no_end(&format!("{COPIED}, policies, whole_set"))).await?;
        refuse(manager, "run_policies", "UPDATE", &is_no_end(&format!("{COPIED}, part"))).await?;
        refuse(manager, "run_ends", "UPDATE", "1 = 1").await?;
        if backend != DbBackend::Postgres {
            connection.execute_unprepared(DELETE_WITH_RUN).await?;
        }
        Ok(())
    }
}
