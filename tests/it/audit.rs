//! VerifyLog: it finds what no read can see, a finding concerns only its own namespace, and it also runs without a request.

use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    self, NAMESPACE, activate, draft, draft_request, get, policy, refused, release, set, version,
};
use crate::harness::http;
use crate::harness::metrics::{counted, text, wait_for};
use crate::harness::subscribing::eventually;
use crate::harness::{Database, Hub, on_both_databases};

const SYSTEM: &str = "namespaces/system";

async fn verify(client: &Client, parent: &str, after_revision: i64) -> pb::VerifyLogResult {
    let after = Some(pb::Cursor { revision: after_revision, ..Default::default() });
    let request = pb::VerifyLogRequest { parent: parent.to_owned(), after };
    client.verify_log(request).await.expect("a verdict")
}

/// Returns the revisions, rows and messages of the findings.
async fn found(hub: &Hub, parent: &str) -> Vec<(i64, String, String)> {
    let verdict = verify(&hub.client().await, parent, 0).await;
    assert_eq!(verdict.valid, verdict.findings.is_empty());
    let revision = |finding: &pb::LogFinding| finding.cursor.map_or(0, |cursor| cursor.revision);
    verdict.findings.into_iter().map(|finding| (revision(&finding), finding.row, finding.message)).collect()
}

fn off(hub: &Hub) {
    if hub.database_url.starts_with("sqlite") {
        for name in
            hub.tamper("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name <> 'events_index_rows'").lines()
        {
            hub.tamper(&format!("DROP TRIGGER {name}"));
        }
    }
}

fn edit(hub: &Hub, sql: &str) {
    if hub.database_url.starts_with("sqlite") {
        hub.tamper(&sql.replace("; ", ";;"));
    } else {
        hub.tamper(&format!("SET session_replication_role = replica; {sql}"));
    }
}

on_both_databases! {
    with &["--audit-interval-ms", "0"];

    async fn a_log_that_was_left_alone_holds(hub: Hub) {
        let client = hub.client().await;
        let empty = verify(&client, NAMESPACE, 0).await;
        assert!(empty.valid && empty.events == 0 && empty.rows == 0, "{empty:?}");
        release(&client, "p", "a: 1").await;
        let bad = client.stage(pb::StageRequest { name: policy("p"), ..Default::default() }).await;
        assert_eq!(calls::reason(bad), "NO_OPEN_DRAFT");
        // A failed report is in no event, and stays with a draft that was abandoned.
        calls::create(&client, "q", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        let drafted = draft(&client, "q", "a: [").await;
        let staged = client.stage(pb::StageRequest { name: drafted.name, ..Default::default() }).await;
        assert_eq!(calls::reason(staged), "VALIDATION_FAILED");
        calls::abandon(&client, "q", 1).await;
        let verdict = verify(&client, NAMESPACE, 0).await;
        assert!(verdict.valid, "{verdict:?}");
        let namespace = client.get_namespace(pb::GetNamespaceRequest { name: NAMESPACE.to_owned() }).await;
        let namespace = namespace.expect("a namespace").namespace.expect("a namespace");
        let place = |cursor: Option<pb::Cursor>| cursor.map(|cursor| (cursor.epoch, cursor.revision));
        assert_eq!((place(verdict.head), verdict.head_hash), (place(namespace.head), namespace.head_hash));
        assert_eq!((verdict.events, verdict.manifests), (6, 1));
        let rest = verify(&client, NAMESPACE, 4).await;
        assert!(rest.valid && rest.events == 2 && rest.rows == 0 && rest.head == verdict.head, "{rest:?}");
        let after = Some(pb::Cursor { revision: 99, ..Default::default() });
        let beyond = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after };
        refused(client.verify_log(beyond).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        let nowhere = pb::VerifyLogRequest { parent: "namespaces/none".to_owned(), after: None };
        refused(client.verify_log(nowhere).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let update = pb::UpdateNamespaceRequest {
            namespace: Some(pb::Namespace { name: NAMESPACE.to_owned(), description: "d".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        client.update_namespace(update).await.expect("a change");
        let system = verify(&client, SYSTEM, 0).await;
        // The first key, the namespace, the admin, and the change; rows of both namespaces, the key and the binding.
        assert!(system.valid && system.events == 4 && system.rows == 4, "{system:?}");
    }

    /// Given an old row that was put back, its MAC is valid and for the right key, but the log shows that it is outdated.
    async fn an_old_row_put_back_is_found(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        off(&hub);
        edit(&hub, "CREATE TABLE old_policies AS SELECT * FROM policies; CREATE TABLE old_versions AS SELECT * FROM versions");
        set(&client, "p", pb::PolicySettings { max_open_drafts: 5, ..Default::default() }).await;
        calls::abandon(&client, "p", 1).await;
        assert_eq!(found(&hub, NAMESPACE).await, []);
        for table in ["policies", "versions"] {
            edit(&hub, &format!("CREATE TABLE new_{table} AS SELECT * FROM {table}; DELETE FROM {table}; \
                                 INSERT INTO {table} SELECT * FROM old_{table}"));
            let findings = found(&hub, NAMESPACE).await;
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].1.starts_with(table) && findings[0].2.contains("newest event"), "{findings:?}");
            edit(&hub, &format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM new_{table}"));
        }
        assert_eq!(found(&hub, NAMESPACE).await, []);
    }

    async fn rows_that_are_missing_or_too_many_are_found(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        off(&hub);
        for table in ["versions", "reports", "policies", "pointer_changes", "events", "contents"] {
            edit(&hub, &format!("CREATE TABLE kept AS SELECT * FROM {table}; DELETE FROM {table}"));
            let findings = found(&hub, NAMESPACE).await;
            assert!(!findings.is_empty(), "{table} emptied");
            edit(&hub, &format!("INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept"));
        }
        assert_eq!(found(&hub, NAMESPACE).await, []);
        // A copy of a whole row under another key: its MAC is for the original key.
        edit(&hub, "CREATE TABLE copy AS SELECT * FROM versions WHERE number = 1; UPDATE copy SET number = 3, label = NULL; \
                    INSERT INTO versions SELECT * FROM copy");
        let findings = found(&hub, NAMESPACE).await;
        assert!(findings.iter().any(|(_, row, problem)| row == "versions p/3" && problem.contains("tag")), "{findings:?}");
        let copied = pb::GetVersionRequest { name: version("p", 3), ..Default::default() };
        refused(client.get_version(copied).await, Code::DataLoss, "DATA_LOSS");
    }

    /// Given the newest activation removed from log, history, pointer and head at once, the remaining rows show that it is missing.
    async fn a_tail_that_was_cut_off_leaves_rows_that_tell(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        off(&hub);
        // Draft, publish and activate of version 2 are events 4, 5 and 6.
        edit(&hub, "DELETE FROM pointer_changes WHERE revision > 3; DELETE FROM events WHERE namespace = 'default' AND revision > 3; \
                    UPDATE policies SET active_version = 1, active_revision = 3; \
                    UPDATE namespaces SET head_revision = 3, head_hash = (SELECT hash FROM events WHERE namespace = 'default' \
                    AND revision = 3) WHERE id = 'default'");
        let findings = found(&hub, NAMESPACE).await;
        let rows: Vec<&str> = findings.iter().map(|(_, row, _)| row.as_str()).collect();
        let index = ["policies p", "versions p/2"];
        let expected = [&index[..], &["policies p", "versions p/2", "reports p/2", "versions p/2"]].concat();
        assert_eq!(rows, expected, "the index, the rows, the manifest: {findings:?}");
        // And a server that remembers more of the log refuses a write at once.
        let again = client.activate(pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![pb::ActivateTarget { policy: policy("p"), to: Some(To::Version(1)), expected_active: None }],
            reason: "a test".to_owned(),
            ..Default::default()
        });
        assert!(again.await.is_err());
    }

    async fn a_kept_answer_that_was_edited_is_refused(hub: Hub) {
        let client = hub.client().await;
        let request = pb::DraftRequest { request_id: "one".to_owned(), ..draft_request("p", "a: 1") };
        let first = client.draft(request.clone()).await.expect("a draft");
        assert_eq!(client.draft(request.clone()).await.expect("the same").version, first.version);
        for column in ["answer", "fingerprint"] {
            let other = format!("UPDATE idempotency SET {column} = replace({column}, 'a', 'b')");
            hub.tamper("CREATE TABLE kept AS SELECT * FROM idempotency");
            hub.tamper(&other);
            refused(client.draft(request.clone()).await, Code::DataLoss, "DATA_LOSS");
            edit(&hub, "DELETE FROM idempotency; INSERT INTO idempotency SELECT * FROM kept; DROP TABLE kept");
        }
        hub.tamper("UPDATE idempotency SET expire_time = expire_time + 1");
        refused(client.draft(request.clone()).await, Code::DataLoss, "DATA_LOSS");
        hub.tamper("UPDATE idempotency SET expire_time = expire_time - 1");
        assert_eq!(client.draft(request).await.expect("the same").version, first.version);
    }

    /// Given a row that does not verify, only requests about it are refused.
    async fn the_trouble_of_one_row_stays_with_it(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "q", "a: 1").await;
        let made = pb::CreateNamespaceRequest { namespace_id: "other".to_owned(), ..Default::default() };
        client.create_namespace(made).await.expect("a namespace");
        hub.tamper("UPDATE policies SET description = 'x' WHERE id = 'p'");
        hub.tamper("UPDATE namespaces SET description = 'x' WHERE id = 'default'");
        refused(client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await, Code::DataLoss, "DATA_LOSS");
        refused(client.draft(draft_request("p", "a: 2")).await, Code::DataLoss, "DATA_LOSS");
        assert_eq!(get(&client, "q").await.active_version, 1);
        activate(&client, "q", 1).await;
        assert!(found(&hub, "namespaces/other").await.is_empty());
        let findings = found(&hub, NAMESPACE).await;
        assert!(findings.len() == 1 && findings[0].1 == "policies p", "{findings:?}");
        let findings = found(&hub, SYSTEM).await;
        assert!(findings.len() == 1 && findings[0].1 == "namespaces default", "{findings:?}");
        // The server still starts, for the other resources.
        let hub = hub.restart_in_order().await;
        assert_eq!(get(&hub.client().await, "q").await.active_version, 1);
    }
}

mod unasked {
    use super::*;

    on_both_databases! {
        with &["--audit-interval-ms", "20"];

        async fn the_server_finds_it_by_itself(hub: Hub) {
            let client = hub.client().await;
            release(&client, "p", "a: 1").await;
            wait_for(&hub, "policyhub_audit_findings 0").await;
            hub.tamper("UPDATE policies SET settings = '{}' WHERE id = 'p'");
            wait_for(&hub, "policyhub_audit_findings 1").await;
            let line = loop {
                let log = hub.log.lock().expect("the log").clone();
                match log.lines().find(|line| line.contains("policyhub::audit")) {
                    Some(line) => break line.to_owned(),
                    None => tokio::task::yield_now().await,
                }
            };
            assert!(line.contains("ERROR") && line.contains("policies p") && line.contains("its tag does not hold"), "{line}");
            let client = hub.client().await;
            refused(client.get_policy(pb::GetPolicyRequest { name: policy("p") }).await, Code::DataLoss, "DATA_LOSS");
        }

        /// Given that the log of `system`, which is checked first, can't be, the server says so and checks the others.
        async fn a_log_that_cannot_be_checked_keeps_no_other_from_it(hub: Hub) {
            let client = hub.client().await;
            release(&client, "p", "a: 1").await;
            hub.tamper("DROP TABLE signing_keys");
            eventually("it is said", async || {
                http::get(&hub.http, "/readyz").is_ok_and(|ready| ready.2.contains("1 log can't be checked; the server's log says why"))
            })
            .await;
            eventually("it is logged", async || hub.has_logged("the log can't be checked")).await;
            hub.tamper("UPDATE policies SET settings = '{}' WHERE id = 'p'");
            wait_for(&hub, "policyhub_namespace_frozen{namespace=\"default\"} 1").await;
        }
    }

    /// Given a row with a value that is none of its column, which SQLite takes, the check finds it as it finds any other edit.
    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_a_finding() {
        let hub = Hub::start_with(Database::Sqlite, &["--audit-interval-ms", "20"]).await;
        release(&hub.client().await, "p", "a: 1").await;
        wait_for(&hub, "policyhub_audit_findings 0").await;
        off(&hub);
        hub.tamper("UPDATE versions SET create_time = 'x' WHERE policy = 'p'");
        wait_for(&hub, "policyhub_namespace_frozen{namespace=\"default\"} 1").await;
    }
}

mod long_logs {
    use std::time::Duration;

    use super::*;
    use crate::harness::subscribing::eventually_within;

    /// A check of the whole log pauses for nine times as long as it works, and a debug build on a busy machine works slowly.
    const CHECKED_WITHIN: Duration = Duration::from_secs(300);

    /// More events than a log may have that is checked whole each time.
    const ACTIVATIONS: i64 = 1_050;
    /// Number of checks in which each of the two logs has its turn twice.
    const CHECKS: f64 = 6.0;
    /// Fewer events than the long log has, and more than that of `system` has in `CHECKS`.
    const EVENTS_FEW: f64 = 512.0;

    fn audited(hub: &Hub) -> (f64, f64) {
        let text = text(hub);
        let of = |name: &str| counted(&text, name).unwrap_or_default();
        (of("policyhub_audit_checks_total"), of("policyhub_audit_events_total"))
    }

    on_both_databases! {
        with &["--audit-interval-ms", "20"];

        /// Given a long log, it is checked whole once, and then by what it gained; an edit of the event from which the next check goes on
        /// makes it a check of the whole log again, which freezes the namespace.
        async fn a_long_log_is_not_verified_again_and_again(hub: Hub) {
            let client = hub.client().await;
            release(&client, "p", "a: 1").await;
            release(&client, "p", "a: 2").await;
            for number in 0..ACTIVATIONS {
                activate(&client, "p", 1 + number % 2).await;
            }
            let mut since = audited(&hub);
            eventually_within(CHECKED_WITHIN, "checks that verify no old event", async || {
                let now = audited(&hub);
                if now.0 < since.0 + CHECKS {
                    return false;
                }
                let verified = now.1 - std::mem::replace(&mut since, now).1;
                verified < EVENTS_FEW
            })
            .await;
            activate(&client, "p", 1).await;
            let seen = audited(&hub);
            eventually_within(CHECKED_WITHIN, "a check of what is new", async || audited(&hub).0 >= seen.0 + CHECKS).await;
            assert!(audited(&hub).1 - seen.1 < EVENTS_FEW, "a new event costs no check of the old ones");
            assert!(!text(&hub).contains("policyhub_namespace_frozen{"), "nothing was wrong so far");

            off(&hub);
            edit(&hub, "UPDATE events SET statement = 'x' WHERE namespace = 'default' AND revision = \
                 (SELECT head_revision FROM namespaces WHERE id = 'default')");
            let frozen = "policyhub_namespace_frozen{namespace=\"default\"} 1";
            eventually_within(CHECKED_WITHIN, "a frozen namespace", async || text(&hub).contains(frozen)).await;
        }
    }
}
