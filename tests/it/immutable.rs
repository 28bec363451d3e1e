//! The database itself refuses to change what was published or logged.

use policyhub::client::Client;

use crate::harness::calls::{draft, publish, release};
use crate::harness::on_both_databases;
use crate::harness::{Hub, runs, watching};

/// Statements that must fail, each with a part of the error.
const REFUSED: &[&str] = &[
    "UPDATE contents SET bytes = bytes",
    "DELETE FROM contents",
    "UPDATE events SET payload = payload",
    "UPDATE events SET statement = ''",
    "DELETE FROM events",
    "UPDATE pointer_changes SET version = 1",
    "DELETE FROM pointer_changes",
    "UPDATE runs SET version = version",
    // A run ends once, and its other columns never change.
    "UPDATE runs SET outcome = 'SUCCEEDED' WHERE id = 'ended'",
    "UPDATE runs SET outcome = 'OPEN'",
    "UPDATE runs SET outcome = 'FAILED', policies = 7 WHERE id = 'r'",
    "UPDATE run_policies SET version = version",
    "UPDATE run_policies SET outcome = 'OPEN' WHERE id = 'ended'",
    "UPDATE run_policies SET outcome = 'FAILED', part = NULL WHERE id = 'r'",
    "UPDATE run_ends SET message = 'x'",
    "DELETE FROM versions",
    "DELETE FROM versions WHERE state = 'DRAFT'",
    "UPDATE versions SET state = 'DRAFT' WHERE state = 'PUBLISHED'",
    "UPDATE versions SET manifest = '' WHERE state = 'PUBLISHED'",
    "UPDATE versions SET label = '9.9.9' WHERE state = 'PUBLISHED'",
    "UPDATE versions SET change_note = 'x' WHERE state = 'PUBLISHED'",
    "UPDATE versions SET number = 9 WHERE state = 'PUBLISHED'",
    // A draft may change its state, but not its identity.
    "UPDATE versions SET number = 9 WHERE state = 'DRAFT'",
    "UPDATE versions SET author = 'me' WHERE state = 'DRAFT'",
    "UPDATE versions SET label = '9.9.9' WHERE state = 'DRAFT'",
    "UPDATE versions SET digest = (SELECT digest FROM versions WHERE state = 'PUBLISHED') WHERE state = 'DRAFT'",
];

const TRUNCATED: &[&str] = &["contents", "events", "pointer_changes", "versions"];

/// Returns every row of every table that must not change.
fn rows(hub: &Hub) -> Vec<String> {
    ["contents", "events", "pointer_changes", "versions"]
        .map(|table| hub.tamper(&format!("SELECT * FROM {table} ORDER BY 1, 2")))
        .to_vec()
}

async fn some_history(client: &Client) {
    release(client, "p", "a: 1").await;
    publish(client, "q", "a: 1").await;
    draft(client, "q", "a: 2").await;
    for run_id in ["r", "ended"] {
        runs::record(client, runs::run_request(run_id, &[], None)).await.expect("a run");
    }
    let end = runs::end_request("ended", policyhub::client::pb::RunOutcome::Failed, "");
    runs::complete(client, end).await.expect("an end");
}

on_both_databases! {
    async fn rows_that_must_not_change_can_not(hub: Hub) {
        let client = hub.client().await;
        some_history(&client).await;
        let before = rows(&hub);
        for sql in REFUSED {
            // The subquery above must select one published version.
            let sql = sql.replace("WHERE state = 'PUBLISHED')", "WHERE state = 'PUBLISHED' AND policy = 'p')");
            let error = hub.try_tamper(&sql).expect_err(&sql);
            assert!(error.contains("are immutable"), "{sql}: {error}");
        }
        if !hub.database_url.starts_with("sqlite") {
            let all = [TRUNCATED.join(", "), "reports, runs, run_policies, run_ends, approvals, manifests".to_owned()].join(", ");
            for tables in TRUNCATED.iter().map(|table| format!("{table} CASCADE")).chain([all]) {
                let error = hub.try_tamper(&format!("TRUNCATE {tables}")).expect_err(&tables);
                assert!(error.contains("are immutable"), "{tables}: {error}");
            }
        }
        assert_eq!(rows(&hub), before);
        assert_eq!(watching::in_force(&client).await.len(), 1);
    }

    /// Given a draft, the triggers permit every step of its lifecycle.
    async fn what_may_change_does(hub: Hub) {
        let client = hub.client().await;
        let drafted = draft(&client, "p", "a: 1").await;
        let stage = policyhub::client::pb::StageRequest { name: drafted.name.clone(), ..Default::default() };
        client.stage(stage).await.expect("a staged version");
        let publish = policyhub::client::pb::PublishRequest { name: drafted.name, ..Default::default() };
        let published = client.publish(publish).await.expect("a publication").version.expect("a version");
        // The triggers would permit an edit of a draft's note; its MAC detects it (see `tamper_rows`).
        assert_eq!(published.state(), policyhub::client::pb::VersionState::Published);
    }
}
