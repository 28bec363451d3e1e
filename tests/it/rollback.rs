//! Rollback: forward in the log, back in content; what is checked, recorded and refused.

use policyhub::client::pb::VersionState::Published;
use policyhub::client::pb::activate_target::To;
use policyhub::client::signing::{verify_bundle, verify_statement};
use policyhub::client::{Client, pb};
use time::format_description::well_known::Rfc3339;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, deactivate, events, get_version, head, policy, publish, refused,
    refused_fields, release, rollback_request, set, trust,
};
use crate::harness::on_both_databases;
use crate::harness::subscribing::{at as place, eventually};

const STRICT: &str = r#"{"required":["owner"]}"#;

async fn back(client: &Client, version: i64) -> pb::RollbackResponse {
    client.rollback(rollback_request("p", version)).await.expect("a rollback")
}

fn copy_forward(version: i64) -> pb::RollbackRequest {
    pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", version) }
}

async fn tighten(client: &Client) {
    set(client, "p", pb::PolicySettings { json_schema: STRICT.to_owned(), ..Default::default() }).await;
}

on_both_databases! {
    /// The pointer moves to the older version at a new, higher revision; statement and event state this.
    async fn the_pointer_moves_back_at_a_higher_revision(hub: Hub) {
        let client = hub.client().await;
        for content in ["a: 1", "a: 2", "a: 3"] {
            release(&client, "p", content).await;
        }
        let at = head(&client).await;
        let answer = back(&client, 1).await;
        assert_eq!((answer.cursor.revision(), active(&client, "p").await), (at + 1, 1));
        let version = answer.version.expect("a version");
        assert_eq!((version.version, version.active, version.state()), (1, true, Published));
        assert!(answer.report.expect("a report").passed);
        let log = events(&client, NAMESPACE, at).await;
        let [event] = log.as_slice() else { panic!("{log:?}") };
        assert_eq!((event.kind(), event.reason.as_str()), (pb::EventKind::Rollback, "it was better"));
        assert_eq!((event.changes[0].version, event.changes[0].previous_version), (1, 3));
        assert_eq!(event.versions, [], "no version changed its state");
        let statement = verify_statement(&event.statement, &trust(&client).await.keys).expect("a statement");
        assert_eq!(
            (statement.kind.as_str(), statement.revision, statement.changes[0].version),
            ("ROLLBACK", at + 1, 1)
        );
        assert_eq!(answer.activation.expect("a summary").statement, event.statement);
    }

    /// Version 0 means the newest version that was active before and that nobody rolled back from: a second rollback never activates what
    /// the first one left.
    async fn version_zero_never_returns_to_what_was_left(hub: Hub) {
        let client = hub.client().await;
        for content in ["a: 1", "a: 2", "a: 3"] {
            release(&client, "p", content).await;
        }
        for expected in [2, 1] {
            back(&client, 0).await;
            assert_eq!(active(&client, "p").await, expected);
        }
        let nothing = client.rollback(rollback_request("p", 0)).await;
        refused(nothing, Code::FailedPrecondition, "NO_PREVIOUS_VERSION");
        activate(&client, "p", 3).await;
        back(&client, 0).await;
        assert_eq!(active(&client, "p").await, 1, "3 was activated on top of 1; 2 was rolled back from");
        deactivate(&client, "p").await;
        let answer = back(&client, 0).await;
        assert_eq!(answer.activation.expect("a summary").changes[0].previous_version, 0);
        assert_eq!(active(&client, "p").await, 1, "before nothing was active, 1 was");
        activate(&client, "p", 2).await;
        deactivate(&client, "p").await;
        activate(&client, "p", 3).await;
        back(&client, 0).await;
        assert_eq!(active(&client, "p").await, 2, "a pause is no version");
        client.rollback(copy_forward(0)).await.expect("a rollback");
        assert_eq!(active(&client, "p").await, 4, "a copy of 1");
        let nothing = client.rollback(rollback_request("p", 0)).await;
        refused(nothing, Code::FailedPrecondition, "NO_PREVIOUS_VERSION");
    }

    /// Given two operators, the second is refused and told who was faster, how, and when; with `unmoved_since` too.
    async fn a_second_operator_is_told_who_was_faster(hub: Hub) {
        let client = hub.client().await;
        for content in ["a: 1", "a: 2", "a: 3"] {
            release(&client, "p", content).await;
        }
        let seen = client.get_active(pb::GetActiveRequest { name: policy("p"), ..Default::default() }).await;
        let seen = seen.expect("active").cursor;
        let asked = || pb::RollbackRequest { expected_active: Some(3), ..rollback_request("p", 0) };
        let first = client.rollback(asked()).await.expect("a rollback");
        let moved = events(&client, NAMESPACE, first.cursor.revision() - 1).await.pop().expect("an event");
        let error = refused(client.rollback(asked()).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        let received = ["current_active", "moved_by", "moved_kind", "moved_revision"].map(|key| error.metadata()[key].clone());
        assert_eq!(received, ["2".to_owned(), moved.actor.clone(), "ROLLBACK".to_owned(), first.cursor.revision().to_string()]);
        let time = moved.time.expect("a time");
        let shown = time::OffsetDateTime::parse(&error.metadata()["moved_time"], &Rfc3339).expect("a time");
        assert_eq!(shown.unix_timestamp(), time.seconds);
        assert!(error.message().contains(&moved.actor) && error.message().contains("ROLLBACK"), "{}", error.message());
        assert_eq!(active(&client, "p").await, 2, "one rollback");
        let since = pb::RollbackRequest { unmoved_since: seen, ..rollback_request("p", 1) };
        refused(client.rollback(since).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        // Callers who activate and deactivate get the same details.
        let target = pb::ActivateTarget { policy: "p".to_owned(), to: Some(To::Version(3)), expected_active: Some(3) };
        let again = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![target],
            reason: "again".to_owned(),
            ..Default::default()
        };
        let error = refused(client.activate(again).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!(error.metadata()["moved_kind"], "ROLLBACK");
        let removal = pb::DeactivateRequest {
            name: policy("p"),
            expected_active: Some(3),
            reason: "away".to_owned(),
            ..Default::default()
        };
        let error = refused(client.deactivate(removal).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!(error.metadata()["moved_by"], moved.actor);
    }

    /// Given a target that subscribers rejected before, the answer names the rejections, also when they run another version by now.
    async fn a_target_that_was_rejected_is_named(hub: Hub) {
        let client = hub.client().await;
        let mut at = Vec::new();
        for content in ["a: 1", "a: 2", "a: 3"] {
            release(&client, "p", content).await;
            at.push(head(&client).await);
        }
        let say = async |id: &str, revision: i64, status: pb::ApplyStatus, reason: &str| {
            let request = pb::ReportStatusRequest {
                name: format!("{NAMESPACE}/subscribers/{id}"),
                cursor: Some(place(revision)),
                digest: format!("sha256:{}", "0".repeat(64)),
                status: status.into(),
                reason: reason.to_owned(),
            };
            client.report_status(request).await.expect("a report");
        };
        let rehearsed = async |version: i64| {
            let request = pb::RollbackRequest { validate_only: true, ..rollback_request("p", version) };
            client.rollback(request).await.expect("an answer").warnings
        };
        assert_eq!(rehearsed(2).await, Vec::<String>::new());
        say("shop", at[1], pb::ApplyStatus::Rejected, "no such field").await;
        eventually("it is named", async || rehearsed(2).await.iter().any(|warning| warning.contains("shop rejected"))).await;
        say("bank", at[1], pb::ApplyStatus::Rejected, "unknown region").await;
        say("bank", at[2], pb::ApplyStatus::Applied, "").await;
        eventually("both are", async || rehearsed(2).await.iter().any(|warning| warning.contains("2 subscribers, bank"))).await;
        let said = rehearsed(2).await;
        assert!(said[0].contains("unknown region") && said[0].contains("versions/2"), "{said:?}");
        assert_eq!(rehearsed(1).await, Vec::<String>::new(), "nobody rejected version 1");
        assert_eq!(back(&client, 2).await.warnings, said, "it is put in force all the same");
    }

    /// Given ten operators at once, there is one rollback, and nine are told.
    async fn of_many_operators_one_rolls_back(hub: Hub) {
        let client = hub.client().await;
        for content in ["a: 1", "a: 2", "a: 3"] {
            release(&client, "p", content).await;
        }
        let asked = || pb::RollbackRequest { expected_active: Some(3), ..rollback_request("p", 0) };
        let all = futures_util::future::join_all((0..10).map(|_| client.rollback(asked()))).await;
        let (done, refusals): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!((done.len(), active(&client, "p").await), (1, 2));
        for refusal in refusals {
            refused(refusal, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        }
    }

    /// COPY_FORWARD creates version n + 1 from the older bytes, signed and active, in one event.
    async fn copy_forward_makes_a_new_version(hub: Hub) {
        let client = hub.client().await;
        let labelled =
            pb::DraftRequest { label: "1.0.0".to_owned(), ..crate::harness::calls::draft_request("p", "a: 1") };
        client.draft(labelled).await.expect("a draft");
        let by_policy = pb::PublishRequest { name: policy("p"), ..Default::default() };
        client.publish(by_policy).await.expect("a publication");
        release(&client, "p", "a: 2").await;
        crate::harness::calls::draft(&client, "p", "a: 3").await;
        let (at, one) = (head(&client).await, get_version(&client, "p", 1).await);
        let answer = client.rollback(copy_forward(1)).await.expect("a rollback");
        let made = answer.version.expect("a version");
        assert_eq!((made.version, made.source_version, made.base_version), (4, 1, 1));
        assert_eq!((made.state(), made.digest.as_str(), made.label.as_str()), (Published, one.digest.as_str(), ""));
        assert_eq!((head(&client).await, active(&client, "p").await), (at + 1, 4), "one event");
        let kept = get_version(&client, "p", 4).await;
        assert_eq!(kept.content, "a: 1");
        let manifest = verify_bundle(&kept.manifest, &kept.content, &trust(&client).await.keys).expect("a bundle");
        assert_eq!(manifest.version, 4, "it has a signature of its own");
        assert_eq!(get_version(&client, "p", 1).await, one);
        let request = pb::GetValidationReportRequest { name: kept.name };
        assert!(client.get_validation_report(request).await.expect("a report").report.expect("a report").passed);
        let log = events(&client, NAMESPACE, at).await;
        let states: Vec<pb::VersionState> = log[0].versions.iter().map(pb::VersionChange::state).collect();
        assert_eq!((log[0].kind(), states), (pb::EventKind::Rollback, vec![pb::VersionState::Published]));
        assert_eq!((log[0].changes[0].version, log[0].changes[0].previous_version), (4, 2));
    }

    /// Given a schema that became stricter, the older content must satisfy it, in both modes; the report names the errors.
    async fn a_schema_that_tightened_refuses(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "owner: me").await;
        tighten(&client).await;
        let at = head(&client).await;
        for request in [rollback_request("p", 1), rollback_request("p", 0), copy_forward(1)] {
            let error = refused(client.rollback(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
            assert_eq!(error.metadata()["check"], "json-schema");
            assert!(error.message().contains("owner"), "{}", error.message());
        }
        let answer = (head(&client).await, active(&client, "p").await);
        assert_eq!(answer, (at, 2));
        assert_eq!(crate::harness::calls::get(&client, "p").await.latest_version, 2, "no copy was left behind");
    }

    /// skip_validation skips the checks, and the event's signed payload records it.
    async fn skipping_the_checks_is_on_record(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "owner: me").await;
        tighten(&client).await;
        let skipping = |request: pb::RollbackRequest| pb::RollbackRequest { skip_validation: true, ..request };
        let answer = client.rollback(skipping(rollback_request("p", 1))).await.expect("a rollback");
        assert_eq!((answer.report, active(&client, "p").await), (None, 1));
        back(&client, 2).await;
        client.rollback(skipping(copy_forward(1))).await.expect("a rollback");
        let log = events(&client, &policy("p"), answer.cursor.revision() - 1).await;
        let skipped: Vec<Option<bool>> = log
            .iter()
            .map(|event| {
                let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
                payload.get("skipped_validation").and_then(serde_json::Value::as_bool)
            })
            .collect();
        assert_eq!(skipped, [Some(true), None, Some(true)]);
        let without = pb::RollbackRequest { reason: String::new(), ..skipping(rollback_request("p", 2)) };
        refused_fields(client.rollback(without).await, &["reason"]);
    }

    /// Given no earlier version, no such version, or a version that is already active, the call is refused.
    async fn what_can_not_be_rolled_back(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        let nothing = client.rollback(rollback_request("p", 0)).await;
        refused(nothing, Code::FailedPrecondition, "NO_PREVIOUS_VERSION");
        activate(&client, "p", 1).await;
        let at = head(&client).await;
        let nothing = client.rollback(rollback_request("p", 0)).await;
        refused(nothing, Code::FailedPrecondition, "NO_PREVIOUS_VERSION");
        for request in [rollback_request("p", 1), copy_forward(1)] {
            refused(client.rollback(request).await, Code::FailedPrecondition, "ALREADY_ACTIVE");
        }
        refused(client.rollback(rollback_request("p", 2)).await, Code::NotFound, "VERSION_NOT_FOUND");
        refused(client.rollback(rollback_request("q", 1)).await, Code::NotFound, "POLICY_NOT_FOUND");
        refused_fields(client.rollback(rollback_request("p", -1)).await, &["version"]);
        refused_fields(client.rollback(pb::RollbackRequest { mode: 7, ..rollback_request("p", 1) }).await, &["mode"]);
        assert_eq!(head(&client).await, at);
    }

    /// validate_only shows the change, for both modes, and makes none.
    async fn validate_only_is_a_rehearsal(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        let at = head(&client).await;
        for (request, version) in [(rollback_request("p", 0), 1), (copy_forward(1), 3)] {
            let request = pb::RollbackRequest { validate_only: true, ..request };
            let answer = client.rollback(request).await.expect("an answer");
            let change = answer.activation.expect("a summary").changes.remove(0);
            assert_eq!((change.version, change.previous_version, answer.cursor.revision()), (version, 2, 0));
            let shown = answer.version.expect("a version");
            assert_eq!((shown.version, shown.active), (version, false));
            assert!(answer.report.expect("a report").passed);
        }
        assert_eq!((head(&client).await, active(&client, "p").await), (at, 2));
        assert_eq!(crate::harness::calls::get(&client, "p").await.latest_version, 2);
    }
}
