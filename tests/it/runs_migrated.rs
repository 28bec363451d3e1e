//! Runs from before a run held a set: they are migrated with their MACs, and servers of the version before still write rows.

use policyhub::client::pb::{self, RunOutcome};

use crate::harness::calls::{NAMESPACE, NamedEvent as _, release};
use crate::harness::runs::{complete, end_request, get_run, record, run_request, under};
use crate::harness::{Hub, on_both_databases};

/// Restores the old table: removes what the migration added, and the record of the migration.
fn undo(hub: &Hub) {
    let sqlite = hub.database_url.starts_with("sqlite");
    let drop = if sqlite {
        "DROP TRIGGER runs_refuse_update;; DROP TRIGGER runs_copy_policy;; DROP TRIGGER runs_delete_parts"
    } else {
        "DROP TRIGGER runs_refuse_update ON runs; DROP TRIGGER runs_copy_policy ON runs; DROP FUNCTION runs_refuse_update(); \
         DROP FUNCTION runs_copy_policy()"
    };
    let refuse = if sqlite {
        "CREATE TRIGGER runs_refuse_update BEFORE UPDATE ON runs FOR EACH ROW WHEN 1 = 1 \
         BEGIN SELECT RAISE(ABORT, 'rows of runs are immutable'); END"
    } else {
        "CREATE FUNCTION runs_refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$ \
         BEGIN RAISE EXCEPTION 'rows of runs are immutable'; END $$; \
         CREATE TRIGGER runs_refuse_update BEFORE UPDATE ON runs FOR EACH ROW WHEN (1 = 1) EXECUTE FUNCTION runs_refuse_update()"
    };
    let functions = if sqlite {
        ""
    } else {
        "DROP FUNCTION run_policies_refuse_update() CASCADE; DROP FUNCTION run_ends_refuse_update() CASCADE"
    };
    let separator = if sqlite { ";;" } else { ";" };
    let statements = [
        drop,
        functions,
        "DROP TABLE run_policies",
        "DROP TABLE run_ends",
        "DROP INDEX runs_of_outcome",
        "ALTER TABLE runs DROP COLUMN policies",
        "ALTER TABLE runs DROP COLUMN whole_set",
        "ALTER TABLE runs DROP COLUMN outcome",
        refuse,
        "DELETE FROM seaql_migrations WHERE version LIKE '%_000009_%'",
    ];
    let statements: Vec<&str> = statements.into_iter().filter(|statement| !statement.is_empty()).collect();
    hub.tamper(&statements.join(separator));
}

/// A row as the version before writes it, of a run that exists under another name now.
const AS_BEFORE: &str = "INSERT INTO runs (namespace, id, policy, version, digest, epoch, revision, active_revision, recorder, \
     create_time, tag) SELECT namespace, id, policy, version, digest, epoch, revision, active_revision, recorder, create_time, tag \
     FROM kept_runs";

on_both_databases! {
    async fn runs_from_before_go_over(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "x: 1").await;
        release(&client, "q", "x: 1").await;
        let old = record(&client, run_request("old", &["p"], None)).await.expect("a run");
        let older = record(&client, run_request("older", &["q"], None)).await.expect("a run");
        undo(&hub);
        assert_eq!(hub.tamper("SELECT count(*) FROM runs"), "2");
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        for run in [&old, &older] {
            assert_eq!(get_run(&client, &run.id()).await.expect("a run"), *run);
            assert_eq!(record(&client, run_request(&run.id(), &[&run.policies[0].policy], None)).await.expect("a run"), *run);
        }
        let list = pb::ListRunsRequest { parent: NAMESPACE.to_owned(), filter: "policy = p".to_owned(), ..Default::default() };
        let found = client.list_runs(list).await.expect("a list");
        assert_eq!((found.runs.as_slice(), found.counts.len()), (&[old][..], 1));
        let ended = complete(&client, end_request("old", RunOutcome::Succeeded, "")).await.expect("an end");
        assert_eq!(get_run(&client, "old").await.expect("a run"), ended);
    }

    /// During an upgrade, servers of the version before still write their rows, and read runs of one policy.
    async fn the_version_before_writes_runs_still(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "x: 1").await;
        let run = record(&client, run_request("old", &["p"], None)).await.expect("a run");
        assert_eq!(hub.tamper("SELECT count(*) FROM runs WHERE policies IS NULL AND whole_set IS NULL"), "1");
        hub.tamper("CREATE TABLE kept_runs AS SELECT * FROM runs");
        hub.tamper("DELETE FROM runs");
        assert_eq!(hub.tamper("SELECT count(*) FROM run_policies"), "0");
        hub.tamper(AS_BEFORE);
        assert_eq!(get_run(&client, "old").await.expect("a run"), run);
        let filter = "policy = p AND version = 1".to_owned();
        let list = pb::ListRunsRequest { parent: NAMESPACE.to_owned(), filter, ..Default::default() };
        let found = client.list_runs(list).await.expect("a list").runs;
        assert_eq!(found.iter().map(under).collect::<Vec<_>>(), ["p@1"]);
    }
}
