//! References in contents: into the content itself and into the active versions of other policies, when a version is staged and when it
//! is activated.

use policyhub::client::pb::PolicyKind::{Json, Opaque, Yaml};
use policyhub::client::pb::check::Result::{Failed, Passed, Skipped, Warning};
use policyhub::client::pb::finding::Severity;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, activate, active, create, deactivate, draft, draft_of_its_kind, get_version, head, policy, publish,
    publish_request, refused, refused_fields, release, rollback_request, set, targets, version,
};
use crate::harness::on_both_databases;

/// Returns what the check `references` finds in a new draft, and ends the draft.
async fn check(client: &Client, id: &str, content: &str) -> pb::Check {
    let drafted = client.draft(draft_of_its_kind(id, content)).await.expect("a draft").version.expect("a version");
    let request = pb::StageRequest { name: drafted.name.clone(), validate_only: true, ..Default::default() };
    let report = client.stage(request).await.expect("an answer").report.expect("a report");
    let request = pb::AbandonDraftRequest { name: drafted.name, ..Default::default() };
    client.abandon_draft(request).await.expect("an end");
    report.checks.into_iter().find(|check| check.id == "references").expect("the check")
}

/// Returns the places and messages of findings.
fn found(check: &pb::Check) -> Vec<(&str, &str)> {
    check.findings.iter().map(|finding| (finding.pointer.as_str(), finding.message.as_str())).collect()
}

async fn report_time(client: &Client, id: &str, number: i64) -> prost_types::Timestamp {
    let request = pb::GetValidationReportRequest { name: version(id, number) };
    let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
    report.create_time.expect("a time")
}

on_both_databases! {
    /// References lead into the content, into a document of a stream, and into the active version of another policy.
    async fn references_resolve(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        create(&client, "j", Json, pb::PolicySettings::default()).await;
        release(&client, "base", "limits: {max: 5, \"a/b c\": 1}").await;
        for (id, content, count) in [
            ("p", "max: 1\ncopy: {source_pointer: '#/max'}\n", 1),
            ("p", "a: [{source_pointer: '#'}, {source_pointer: 'base#/limits/max'}]\n", 2),
            ("p", "a: 1\n---\nb: {source_pointer: '#/0/a'}\n", 1),
            ("j", r##"{"a": 1, "b": {"source_pointer": "base#/limits/a~1b%20c"}, "source_pointer": "base#"}"##, 2),
        ] {
            let check = check(&client, id, content).await;
            let message = format!("references that resolve: {count}");
            assert_eq!((check.result(), found(&check)), (Passed, vec![("", message.as_str())]), "{content}");
        }
        let none = check(&client, "p", "a: '#/nowhere'").await;
        assert_eq!((none.result(), found(&none)), (Skipped, vec![("", "the content has no references")]));
        create(&client, "o", Opaque, pb::PolicySettings::default()).await;
        let opaque = check(&client, "o", "source_pointer: '#/nowhere'").await;
        assert_eq!((opaque.result(), found(&opaque)), (Skipped, vec![("", "references are read in JSON and YAML alone")]));
    }

    /// What leads to nothing in the content itself is an error with its place, and the version is not staged.
    async fn what_leads_to_nothing_is_found(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: {b: [1]}").await;
        let message = |text: &str, why: &str| format!("reference {text:?} {why}");
        let nothing = |text: &str, at: &str| {
            message(text, &format!("does not resolve: nothing is at {at} of this content"))
        };
        for (content, pointer, expected) in [
            ("a: {b: [1]}\nc: {source_pointer: '#/a/x/y'}", "/c/source_pointer", nothing("#/a/x/y", "/a/x")),
            ("a: 1\n---\nc: {source_pointer: '#/a'}", "/1/c/source_pointer", nothing("#/a", "/a")),
            ("source_pointer: 7", "/source_pointer", "a reference is not a text".to_owned()),
            ("source_pointer: a.b", "/source_pointer", message("a.b", "has no #")),
            (
                "source_pointer: 'p#/a'",
                "/source_pointer",
                message("p#/a", "names its own policy, whose active version this one replaces"),
            ),
        ] {
            let check = check(&client, "p", content).await;
            assert_eq!((check.result(), found(&check)), (Failed, vec![(pointer, expected.as_str())]), "{content}");
            let finding = &check.findings[0];
            assert_eq!((finding.severity(), finding.hint.is_empty()), (Severity::Error, false), "{finding:?}");
        }
        draft(&client, "p", "source_pointer: '#/a'").await;
        let request = pb::StageRequest { name: policy("p"), ..Default::default() };
        let error = refused(client.stage(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        let named = ["check", "pointer"].map(|key| error.metadata()[key].as_str());
        assert_eq!(named, ["references", "/source_pointer"]);
    }

    /// What is missing in another policy is a warning until the version is to be active; then it is refused, and what is activated together
    /// with it counts.
    async fn another_policy_counts_when_the_version_is_activated(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "base", "old: 1").await;
        publish(&client, "base", "max: 1\nback: {source_pointer: 'p#/a'}").await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        let content = "a: {source_pointer: 'base#/max'}";
        let missing = check(&client, "p", content).await;
        let expected = "reference \"base#/max\" does not resolve: base has no active version";
        assert_eq!((missing.result(), found(&missing)), (Warning, vec![("/a/source_pointer", expected)]));
        assert_eq!(missing.findings[0].severity(), Severity::Warning);
        activate(&client, "base", 1).await;
        let unknown = check(&client, "p", "a: {source_pointer: 'none#/max'}").await;
        assert!(unknown.findings[0].message.ends_with("none has no active version"), "{unknown:?}");
        let drafted = draft(&client, "p", content).await.version;
        let at = head(&client).await;
        let and_activate =
            pb::PublishRequest { activate: true, reason: "now".to_owned(), ..publish_request("p", drafted) };
        let error = refused(client.publish(and_activate).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!(error.metadata()["check"], "references");
        client.publish(publish_request("p", drafted)).await.expect("a publication");
        let expected = "nothing is at /max of version 1 of base, which is active";
        for validate_only in [true, false] {
            let request = pb::ActivateRequest { validate_only, ..targets(&[("p", drafted)]) };
            let error = refused(client.activate(request).await, Code::FailedPrecondition, "VALIDATION_FAILED");
            assert!(error.message().ends_with(expected) && error.resource() == version("p", drafted), "{error:?}");
        }
        assert_eq!((head(&client).await, active(&client, "p").await), (at + 1, 0));
        client.activate(targets(&[("p", drafted), ("base", 2)])).await.expect("both refer to each other");
        assert_eq!((active(&client, "p").await, active(&client, "base").await), (drafted, 2));
        let log = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
        assert!(log.expect("a verdict").valid, "the whole log holds");
    }

    /// A report counts as long as what it looked up is active: after that the version is checked again, by Activate and by Rollback.
    async fn what_moved_is_looked_up_again(hub: Hub) {
        let client = hub.client().await;
        release(&client, "base", "max: 1").await;
        publish(&client, "p", "a: {source_pointer: 'base#/max'}").await;
        let published = report_time(&client, "p", 1).await;
        activate(&client, "p", 1).await;
        assert_eq!(report_time(&client, "p", 1).await, published, "base did not move");
        release(&client, "p", "a: 2").await;
        release(&client, "base", "max: 2").await;
        let back = || client.rollback(rollback_request("p", 1));
        back().await.expect("base has the place still");
        assert_eq!(report_time(&client, "p", 1).await, published, "a rollback keeps no report");
        activate(&client, "p", 1).await;
        let checked = report_time(&client, "p", 1).await;
        assert_ne!(checked, published, "another version of base is active");
        activate(&client, "p", 2).await;
        release(&client, "base", "min: 3").await;
        refused(back().await, Code::FailedPrecondition, "VALIDATION_FAILED");
        let error = refused(client.activate(targets(&[("p", 1)])).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert!(error.message().contains("nothing is at /max of version 3 of base"), "{error}");
        deactivate(&client, "base").await;
        let error = refused(back().await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert!(error.message().contains("base has no active version"), "{error}");
        client.activate(targets(&[("p", 1), ("base", 2)])).await.expect("together");
        let skipping = pb::RollbackRequest { skip_validation: true, ..rollback_request("p", 2) };
        client.rollback(skipping).await.expect("a rollback");
        assert!(get_version(&client, "p", 2).await.active);
    }

    /// A policy names the members that hold its references; the names are bounded, and change what its reports are worth.
    async fn a_policy_names_its_members(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "see: '#/nowhere'").await;
        let keys = |keys: &[&str]| pb::PolicySettings {
            reference_keys: keys.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        set(&client, "p", keys(&["see", "$ref"])).await;
        let both = check(&client, "p", "see: '#/x'\n$ref: '#/y'\nsource_pointer: '#/z'").await;
        assert_eq!(found(&both).iter().map(|found| found.0).collect::<Vec<_>>(), ["/$ref", "/see"]);
        let error = refused(client.activate(targets(&[("p", 1)])).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        assert_eq!(error.metadata()["pointer"], "/see");
        let set_keys = async |keys: pb::PolicySettings| {
            let given = pb::Policy { name: policy("p"), settings: Some(keys), ..Default::default() };
            client.update_policy(pb::UpdatePolicyRequest { policy: Some(given), ..Default::default() }).await
        };
        let long = "k".repeat(129);
        for bad in ["", "a\nb", long.as_str()] {
            refused_fields(set_keys(keys(&["see", bad])).await, &["policy.settings.reference_keys[1]"]);
        }
        refused_fields(set_keys(keys(&["a", "b", "a"])).await, &["policy.settings.reference_keys[2]"]);
        let many: Vec<String> = (0..17).map(|number| format!("k{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        refused_fields(set_keys(keys(&many)).await, &["policy.settings.reference_keys"]);
        set_keys(keys(&many[..16])).await.expect("as many as there may be");
        set(&client, "p", pb::PolicySettings::default()).await;
        activate(&client, "p", 1).await;
    }

    /// References beyond the limits are one finding, and nothing is looked up for them.
    async fn references_are_bounded(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        let of = |count: usize, text: &dyn Fn(usize) -> String| -> String {
            (0..count).map(|number| format!("- source_pointer: '{}'\n", text(number))).collect()
        };
        let own = |_: usize| "#".to_owned();
        assert_eq!(check(&client, "p", &of(2_000, &own)).await.result(), Passed);
        let over = check(&client, "p", &of(2_001, &own)).await;
        assert_eq!((over.result(), found(&over)), (Failed, vec![("", "the content has over 2000 references")]));
        let others = |number: usize| format!("q{number}#");
        assert_eq!(check(&client, "p", &of(32, &others)).await.result(), Warning);
        let over = check(&client, "p", &of(33, &others)).await;
        let expected = "the content refers to 33 other policies, over 32";
        assert_eq!((over.result(), found(&over)), (Failed, vec![("", expected)]));
        let large = format!("a: {}", "x".repeat(1_000_000));
        for id in ["q1", "q2", "q3", "q4", "q5"] {
            release(&client, id, &large).await;
        }
        let named = |number: usize| format!("q{}#/a", number + 1);
        assert_eq!(check(&client, "p", &of(4, &named)).await.result(), Passed);
        let over = check(&client, "p", &of(5, &named)).await;
        let expected = "the contents of other policies that it refers to have 5000015 bytes, over 4194304";
        assert_eq!((over.result(), found(&over)), (Warning, vec![("", expected)]));
    }
}
