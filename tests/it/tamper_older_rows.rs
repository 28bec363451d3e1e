//! An attacker who can write the database restores an older row: a genuine one, with its valid MAC. It does not decide; and when the newer
//! event is hidden from the index too, the check of the log, which replays the rules, finds it.

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, create, draft_of_its_kind, draft_request, head, publish_request, refused, set,
    try_activate, version,
};
use crate::harness::reviews::{needs, people, rejection, reviewed_policy, staged};
use crate::harness::{Hub, on_both_databases};
use crate::tamper_rows::{edit, is_sqlite, keep as drop_triggers};

/// Disables background checks, so that requests make the findings.
pub const QUIET: &[&str] = &["--audit-interval-ms", "0"];

/// Saves the current rows of a table under a name.
pub fn keep(hub: &Hub, name: &str, table: &str) {
    edit(hub, &format!("CREATE TABLE {name} AS SELECT * FROM {table}"));
}

/// Restores the rows of a table that were saved under a name.
pub fn put_back(hub: &Hub, name: &str, table: &str) {
    let separator = if is_sqlite(hub) { ";;" } else { ";" };
    edit(hub, &format!("DELETE FROM {table}{separator}INSERT INTO {table} SELECT * FROM {name}"));
}

/// Makes the index of rows point to an older event of the policy p.
fn turn_back_index(hub: &Hub, table: &str, key: &str, revision: i64) {
    edit(
        hub,
        &format!(
            "UPDATE row_changes SET revision = {revision} WHERE namespace = 'default' AND table_name = '{table}' AND \
             row_key = '{key}'"
        ),
    );
}

/// Returns the findings of VerifyLog, each with the revision of its event and its message.
pub async fn findings(client: &Client) -> Vec<(i64, String)> {
    let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
    let found = client.verify_log(request).await.expect("a verdict");
    assert_eq!(found.valid, found.findings.is_empty());
    found
        .findings
        .into_iter()
        .map(|finding| {
            (finding.cursor.map_or(0, |cursor| cursor.revision), format!("{} {}", finding.row, finding.message))
        })
        .collect()
}

/// Runs `policyhub verify --log` and returns its exit code and output.
fn verified_offline(hub: &Hub) -> (Option<i32>, String) {
    let done = hub.cli().args(["verify", "--log"]).output().expect("a command that runs");
    (done.status.code(), String::from_utf8(done.stdout).expect("UTF-8"))
}

/// Creates a policy that needs two approvals, with a staged version that has none, by ann. The policy's row from before the requirement is
/// saved as `older`.
async fn unapproved(hub: &Hub, admin: &Client, ann: &Client) {
    reviewed_policy(admin, "p", 0).await;
    ann.draft(draft_request("p", "a: 1")).await.expect("a draft");
    keep(hub, "older", "policies");
    set(admin, "p", needs(2)).await;
    ann.stage(pb::StageRequest { name: version("p", 1), ..Default::default() }).await.expect("a stage");
    refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "APPROVALS_MISSING");
    keep(hub, "newer", "policies");
}

/// Creates a rejected version. Its row from before is saved as `older`.
async fn rejected(hub: &Hub, ann: &Client, bob: &Client) {
    drop_triggers(hub, &[]);
    let reviewed = staged(ann, "p", "a: 1").await;
    keep(hub, "older", "versions");
    bob.reject_version(rejection(&reviewed)).await.expect("a rejection");
    keep(hub, "newer", "versions");
    refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "VERSION_NOT_OPEN");
}

on_both_databases! {
    with QUIET;

    /// Given the requirement from before, restored by an attacker, the author can't publish alone.
    async fn an_older_requirement_does_not_decide(hub: Hub) {
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        unapproved(&hub, &admin, &ann).await;
        let at = head(&admin).await;
        put_back(&hub, "older", "policies");
        for validate_only in [true, false] {
            let request = pb::PublishRequest { validate_only, ..publish_request("p", 1) };
            refused(ann.publish(request).await, Code::DataLoss, "DATA_LOSS");
        }
        refused(ann.draft(draft_request("p", "a: 2")).await, Code::DataLoss, "DATA_LOSS");
        let log = hub.log.lock().expect("the log").clone();
        assert!(log.contains("a row is not the newest"), "the log of the server says so");
        put_back(&hub, "newer", "policies");
        assert_eq!((head(&admin).await, findings(&admin).await), (at, vec![]), "nothing was decided");
        assert_eq!(verified_offline(&hub).0, Some(0));
        refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "APPROVALS_MISSING");
    }

    /// Given the staged row of a rejected version, restored by an attacker, it can't be published.
    async fn a_rejected_version_stays_rejected(hub: Hub) {
        let [ann, bob] = people(&hub, ["ann", "bob"]).await;
        rejected(&hub, &ann, &bob).await;
        let at = head(&ann).await;
        put_back(&hub, "older", "versions");
        refused(ann.publish(publish_request("p", 1)).await, Code::DataLoss, "DATA_LOSS");
        let stage = pb::StageRequest { name: version("p", 1), ..Default::default() };
        refused(ann.stage(stage).await, Code::DataLoss, "DATA_LOSS");
        put_back(&hub, "newer", "versions");
        assert_eq!((head(&ann).await, findings(&ann).await), (at, vec![]), "nothing was decided");
    }

    /// Given a pointer that an attacker moved, no statement is signed over it.
    async fn a_moved_pointer_does_not_decide(hub: Hub) {
        let [ann] = people(&hub, ["ann"]).await;
        for content in ["a: 1", "a: 2"] {
            crate::harness::calls::release(&ann, "p", content).await;
        }
        let at = head(&ann).await;
        keep(&hub, "newer", "policies");
        edit(&hub, "UPDATE policies SET active_version = 1 WHERE id = 'p'");
        refused(try_activate(&ann, "p", 2, Some(1)).await, Code::DataLoss, "DATA_LOSS");
        put_back(&hub, "newer", "policies");
        assert_eq!((head(&ann).await, findings(&ann).await), (at, vec![]), "nothing was decided");
    }

    /// Given a changed or deleted entry of the index, it is found.
    async fn the_index_of_rows_is_compared(hub: Hub) {
        let [ann] = people(&hub, ["ann"]).await;
        crate::harness::calls::release(&ann, "p", "a: 1").await;
        keep(&hub, "newer", "row_changes");
        for sql in [
            "UPDATE row_changes SET revision = revision - 1 WHERE table_name = 'versions' AND row_key = 'p/1'",
            "DELETE FROM row_changes WHERE table_name = 'versions' AND row_key = 'p/1'",
            "UPDATE row_changes SET row_key = 'p/7' WHERE table_name = 'versions' AND row_key = 'p/1'",
        ] {
            edit(&hub, sql);
            let found = findings(&ann).await;
            assert!(found.iter().any(|(_, message)| message.contains("the index of rows")), "{sql}: {found:?}");
            put_back(&hub, "newer", "row_changes");
            assert_eq!(findings(&ann).await, vec![], "all was put back after {sql}");
        }
    }

    /// Given an index that the attacker changed too, a server that has not seen the newer row publishes. After everything is restored, the
    /// check of the rules finds what they did not permit.
    async fn what_the_rules_do_not_allow_is_found(hub: Hub) {
        let mut hub = hub;
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        unapproved(&hub, &admin, &ann).await;
        put_back(&hub, "older", "policies");
        turn_back_index(&hub, "policies", "p", 2);
        refused(ann.publish(publish_request("p", 1)).await, Code::DataLoss, "DATA_LOSS");
        hub.kill().await;
        let hub = hub.restart().await;
        let [ann, bob] = people(&hub, ["ann", "bob"]).await;
        let published = ann.publish(publish_request("p", 1)).await.expect("nothing tells yet").cursor.revision();
        put_back(&hub, "newer", "policies");
        turn_back_index(&hub, "policies", "p", 3);
        let found = findings(&bob).await;
        assert!(matches!(found.as_slice(), [(revision, message)] if *revision == published && message.contains("0 of 2 approvals")), "{found:?}");
        let (code, text) = verified_offline(&hub);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&format!("here: event {published}: the rules do not allow it")), "{text}");
    }

    /// The same with a schema: checks are not replayed, but the settings with which they were made are compared.
    async fn a_schema_that_was_away_for_a_moment_is_found(hub: Hub) {
        let mut hub = hub;
        let [ann] = people(&hub, ["ann"]).await;
        create(&ann, "p", pb::PolicyKind::Json, pb::PolicySettings::default()).await;
        ann.draft(draft_of_its_kind("p", "{}")).await.expect("a draft");
        keep(&hub, "older", "policies");
        let strict = pb::PolicySettings { json_schema: r#"{"required": ["limit"]}"#.to_owned(), ..Default::default() };
        set(&ann, "p", strict).await;
        refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        keep(&hub, "newer", "policies");
        hub.kill().await;
        put_back(&hub, "older", "policies");
        turn_back_index(&hub, "policies", "p", 2);
        let hub = hub.restart().await;
        let [ann] = people(&hub, ["ann"]).await;
        let request = pb::PublishRequest { activate: true, reason: "quick".to_owned(), ..publish_request("p", 1) };
        let published = ann.publish(request).await.expect("nothing tells yet").cursor.revision();
        // Everything is restored but the pointer, so that no row shows it.
        let columns = ["settings", "etag", "update_time", "tag"];
        let newer = columns.map(|column| format!("{column} = (SELECT {column} FROM newer WHERE id = 'p')"));
        edit(&hub, &format!("UPDATE policies SET {} WHERE id = 'p'", newer.join(", ")));
        turn_back_index(&hub, "policies", "p", 3);
        let found = findings(&ann).await;
        let is_named = |(revision, message): &(i64, String)| *revision == published && message.contains("settings of p");
        assert!(matches!(found.as_slice(), [one] if is_named(one)), "{found:?}");
        let (code, text) = verified_offline(&hub);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("it was decided by settings of p that were not in force"), "{text}");
    }

    /// The same with a rejected version; a finding that can't be repaired is accepted by an admin.
    async fn a_rejection_that_was_undone_is_found(hub: Hub) {
        let mut hub = hub;
        let [ann, bob] = people(&hub, ["ann", "bob"]).await;
        rejected(&hub, &ann, &bob).await;
        put_back(&hub, "older", "versions");
        turn_back_index(&hub, "versions", "p/1", 2);
        hub.kill().await;
        let hub = hub.restart().await;
        let [ann, bob] = people(&hub, ["ann", "bob"]).await;
        let published = ann.publish(publish_request("p", 1)).await.expect("nothing tells yet").cursor.revision();
        let found = findings(&bob).await;
        assert!(matches!(found.as_slice(), [(revision, message)] if *revision == published && message.contains("REJECTED")), "{found:?}");
        assert_eq!(verified_offline(&hub).0, Some(1));

        let thaw = |accept: &[&str]| {
            let arguments = ["namespace", "thaw", "default", "--reason", "looked into"];
            hub.cli().args(arguments).args(accept).output().expect("a command that runs").status.code()
        };
        assert_eq!(thaw(&[]), Some(1));
        assert_eq!(thaw(&["--accept", &format!("event {published}")]), Some(0));
        assert_eq!((findings(&bob).await, verified_offline(&hub).0), (vec![], Some(0)), "what was accepted is no finding");
    }
}
