//! An attacker who can write the table of approvals: a row without its event is refused, never counted (docs/security.md#t33,
//! docs/guarantees.md#g19).

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{get_version, head, policy, publish_request, refused, set, version};
use crate::harness::reviews::{approve, approvers, needs, people, reviewed_policy, staged};
use crate::harness::{Hub, on_both_databases};

const COLUMNS: &str = "namespace, policy, number, approver, digest, reason, create_time, expire_time, revision, tag";

/// Checks that everything that reads the approvals of version 1 is refused.
async fn is_refused(client: &Client, what: &str) {
    let at = head(client).await;
    for break_glass in [false, true] {
        let request = pb::PublishRequest { break_glass, reason: "now".to_owned(), ..publish_request("p", 1) };
        let error = client.publish(request).await.expect_err(what);
        assert_eq!((error.code(), error.reason()), (Code::DataLoss, "DATA_LOSS"), "{what}: {error:?}");
    }
    let request = pb::GetVersionRequest { name: version("p", 1), ..Default::default() };
    refused(client.get_version(request).await, Code::DataLoss, "DATA_LOSS");
    let request = pb::ListVersionsRequest { parent: policy("p"), ..Default::default() };
    refused(client.list_versions(request).await, Code::DataLoss, "DATA_LOSS");
    assert_eq!(head(client).await, at, "{what}");
}

/// Restores the original rows.
fn restore(hub: &Hub) {
    hub.tamper("DELETE FROM approvals");
    hub.tamper(&format!("INSERT INTO approvals ({COLUMNS}) SELECT {COLUMNS} FROM kept_approvals"));
}

on_both_databases! {
    // The check of the log would freeze the namespace between two edits.
    with &["--audit-interval-ms", "0"];

    /// Given an edit of any column, or rows copied to another version, reads are refused.
    async fn a_row_that_is_not_its_event_is_refused(hub: Hub) {
        let [admin, ann, bob, cat] = people(&hub, ["admin", "ann", "bob", "cat"]).await;
        reviewed_policy(&admin, "p", 2).await;
        reviewed_policy(&admin, "q", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let other = staged(&ann, "p", "a: 2").await;
        let elsewhere = staged(&ann, "q", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        approve(&cat, &other).await.expect("an approval");
        approve(&cat, &elsewhere).await.expect("an approval");
        hub.tamper("CREATE TABLE kept_approvals AS SELECT * FROM approvals");

        let bobs = "WHERE approver = 'local:bob'";
        let copied = |columns: &str, from: &str| format!("INSERT INTO approvals ({COLUMNS}) SELECT {columns} FROM kept_approvals {from}");
        let with = |column: &str, value: &str| COLUMNS.replace(column, value);
        let from_other = "WHERE approver = 'local:cat' AND policy = 'p'";
        let from_elsewhere = "WHERE policy = 'q'";
        for sql in [
            copied(&with("approver", "'local:dan'"), bobs),
            copied(&with("approver", "'local:dan'").replace("revision", "9999"), bobs),
            copied(&with("approver", "'local:dan'").replace("revision", "1"), bobs),
            copied(&with("number", "1"), from_other),
            copied(&with("number", "1").replace("digest", &format!("'{}'", reviewed.digest)), from_other),
            copied(&with("policy", "'p'"), from_elsewhere),
            format!("UPDATE approvals SET approver = 'local:cat' {bobs}"),
            format!("UPDATE approvals SET digest = '{}' {bobs}", other.digest),
            format!("UPDATE approvals SET digest = 'sha256:' {bobs}"),
            format!("UPDATE approvals SET expire_time = expire_time + 1 {bobs}"),
            format!("UPDATE approvals SET expire_time = 1 {bobs}"),
            format!("UPDATE approvals SET create_time = create_time - 1 {bobs}"),
            format!("UPDATE approvals SET reason = 'never read' {bobs}"),
        ] {
            hub.tamper(&sql);
            is_refused(&ann, &sql).await;
            restore(&hub);
            assert_eq!(approvers(&ann, "p", 1).await, ["local:bob"], "all was restored after {sql}");
        }
        let log = hub.log.lock().expect("the log").clone();
        assert!(log.contains("its tag does not hold"), "the log says what does not verify");
        approve(&cat, &reviewed).await.expect("an approval");
        ann.publish(publish_request("p", 1)).await.expect("what was really approved is published");
    }

    /// Given a deleted row, it does not count; given a voided row that is put back, it stays void.
    async fn a_row_put_back_stays_void(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        hub.tamper("CREATE TABLE kept_approvals AS SELECT * FROM approvals");
        hub.tamper("DELETE FROM approvals");
        refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "APPROVALS_MISSING");
        let strict = pb::PolicySettings { json_schema: r#"{"required":["a"]}"#.to_owned(), ..needs(1) };
        set(&admin, "p", strict).await;
        restore(&hub);
        assert_eq!(get_version(&ann, "p", 1).await.approvals, []);
        refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "APPROVALS_MISSING");
        approve(&bob, &reviewed).await.expect("an approval");
        // An older approval by the same person in place of the newer one.
        restore(&hub);
        refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "APPROVALS_MISSING");
    }
}
