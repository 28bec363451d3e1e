//! What is activated satisfies the rules at that time, whoever asks and by whichever call (docs/lifecycle.md#rule-7).

use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::callers::{caller, grant};
use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, events, head, publish, refused, refused_fields, set, version,
};
use crate::harness::on_both_databases;

const STRICT: &str = r#"{"required":["owner"]}"#;

async fn require_owner(client: &Client, id: &str, schema: &str) {
    set(client, id, pb::PolicySettings { json_schema: schema.to_owned(), ..Default::default() }).await;
}

fn request(targets: &[(&str, i64)]) -> pb::ActivateRequest {
    let target = |(policy, version): &(&str, i64)| pb::ActivateTarget {
        policy: (*policy).to_owned(),
        to: Some(To::Version(*version)),
        expected_active: None,
    };
    pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: targets.iter().map(target).collect(),
        reason: "new season".to_owned(),
        ..Default::default()
    }
}

async fn report_time(client: &Client, id: &str, number: i64) -> prost_types::Timestamp {
    let request = pb::GetValidationReportRequest { name: version(id, number) };
    let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
    assert!(report.passed, "{report:?}");
    report.create_time.expect("a time")
}

on_both_databases! {
    /// Given a schema that became stricter, an activation of an older version is refused, alone or among others, and nothing moves.
    async fn a_schema_that_tightened_refuses(hub: Hub) {
        let client = hub.client().await;
        for (id, content) in [("p", "a: 1"), ("p", "owner: me"), ("q", "a: 1")] {
            publish(&client, id, content).await;
        }
        activate(&client, "p", 2).await;
        require_owner(&client, "p", STRICT).await;
        let at = head(&client).await;
        let one = request(&[("p", 1)]);
        let rehearsal = pb::ActivateRequest { validate_only: true, ..one.clone() };
        for request in [one, rehearsal, request(&[("q", 1), ("p", 1)])] {
            let error = refused(client.activate(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
            assert_eq!(error.metadata()["check"], "json-schema");
            assert!(error.message().contains("owner") && error.resource() == version("p", 1), "{error:?}");
        }
        assert_eq!((head(&client).await, active(&client, "p").await, active(&client, "q").await), (at, 2, 0));
        activate(&client, "q", 1).await;
        activate(&client, "p", 2).await;
    }

    /// Given two versions of one activation that today's rules refuse, one refusal names both, with what is found in each.
    async fn every_version_that_is_refused_is_named(hub: Hub) {
        let client = hub.client().await;
        for id in ["p", "q", "r"] {
            publish(&client, id, if id == "q" { "owner: me" } else { "a: 1" }).await;
            require_owner(&client, id, STRICT).await;
        }
        let refusal = client.activate(request(&[("p", 1), ("q", 1), ("r", 1)])).await;
        let error = refused(refusal, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!((error.resource(), error.metadata()["state"].as_str()), (version("p", 1).as_str(), "PUBLISHED"));
        assert!(error.message().ends_with("checks fail of these too: r@1"), "{}", error.message());
        let described: Vec<&str> = error.violations().iter().map(|each| each.description.as_str()).collect();
        assert!(described.len() == 2 && described[0].starts_with("p@1: ") && described[1].starts_with("r@1: "), "{described:?}");
        assert!(!error.metadata().contains_key("line") && !error.metadata().contains_key("file"), "{error:?}");
    }

    /// Only an administrator may skip the checks, with a reason, and the event's signed payload records it.
    async fn skipping_the_checks_is_on_record(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        require_owner(&client, "p", STRICT).await;
        grant(&client, "act", pb::Role::Activator, NAMESPACE).await;
        let skipping = pb::ActivateRequest { skip_validation: true, ..request(&[("p", 1)]) };
        let activator = caller(&hub, "act").await;
        refused(activator.activate(skipping.clone()).await, Code::PermissionDenied, "PERMISSION_DENIED");
        refused(activator.activate(request(&[("p", 1)])).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        let silent = pb::ActivateRequest { reason: String::new(), ..skipping.clone() };
        refused_fields(client.activate(silent).await, &["reason"]);
        let done = client.activate(skipping).await.expect("an activation");
        let event = events(&client, NAMESPACE, done.cursor.revision() - 1).await.pop().expect("an event");
        let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
        assert_eq!(payload["skipped_validation"], true);
        assert_eq!(active(&client, "p").await, 1);
    }

    /// While the rules are those of the report, nothing is checked again; after they changed, the version is checked and the new report is
    /// stored.
    async fn a_report_of_todays_rules_is_taken_as_it_is(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "owner: me").await;
        publish(&client, "p", "owner: you").await;
        let published = report_time(&client, "p", 1).await;
        for number in [1, 2, 1] {
            activate(&client, "p", number).await;
        }
        assert_eq!(report_time(&client, "p", 1).await, published, "the same rules");
        require_owner(&client, "p", STRICT).await;
        activate(&client, "p", 2).await;
        activate(&client, "p", 1).await;
        let checked = report_time(&client, "p", 1).await;
        assert_ne!(checked, published, "other rules");
        client.rollback(crate::harness::calls::rollback_request("p", 2)).await.expect("a rollback");
        activate(&client, "p", 1).await;
        assert_eq!(report_time(&client, "p", 1).await, checked, "the same rules again");
        // Settings that do not concern the content leave the rules unchanged.
        set(&client, "p", pb::PolicySettings { json_schema: STRICT.to_owned(), required_approvals: 1, ..Default::default() }).await;
        activate(&client, "p", 1).await;
        assert_eq!(report_time(&client, "p", 1).await, checked);
    }
}
