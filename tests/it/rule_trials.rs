//! A change of a schema, of reference keys, of approvals or of guardrails says which published versions it would refuse, and refuses
//! nothing by that.

use policyhub::client::pb::PolicyKind::Yaml;
use policyhub::client::{Client, pb};

use crate::harness::archives::{export, run};
use crate::harness::calls::{activate, active, create, draft_of_its_kind, policy, publish, release};
use crate::harness::guardrails::{guardrail, set_guardrails, update_guardrails};
use crate::harness::reviews::{approve, people, reviewed_policy, staged};
use crate::harness::{Hub, on_both_databases};
use crate::tamper_rows::{edit, keep};

const OWN: &str = "namespaces/default/guardrails";
/// A schema that contents with `a` from 10 satisfy.
const SCHEMA: &str = r#"{"properties":{"a":{"minimum":10}}}"#;

/// Returns the request that changes these settings.
fn request(id: &str, settings: pb::PolicySettings) -> pb::UpdatePolicyRequest {
    let given = pb::Policy { name: policy(id), settings: Some(settings), ..Default::default() };
    pb::UpdatePolicyRequest { policy: Some(given), ..Default::default() }
}

fn schema(text: &str) -> pb::PolicySettings {
    pb::PolicySettings { json_schema: text.to_owned(), ..Default::default() }
}

/// Returns the number of a version by its name.
fn number(violation: &pb::GuardrailViolation) -> i64 {
    violation.version.rsplit('/').next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Returns version, whether it is active, check and pointer of each violation.
fn found(violations: &[pb::GuardrailViolation]) -> Vec<(i64, bool, &str, &str)> {
    let mut found = Vec::new();
    for violation in violations {
        found.push((number(violation), violation.active, violation.check.as_str(), violation.pointer.as_str()));
    }
    found
}

async fn labelled(client: &Client, id: &str, content: &str, label: &str) -> i64 {
    let request = pb::DraftRequest { label: label.to_owned(), ..draft_of_its_kind(id, content) };
    let name = client.draft(request).await.expect("a draft").version.expect("a version").name;
    let request = pb::PublishRequest { name, ..Default::default() };
    client.publish(request).await.expect("a publication").version.expect("a version").version
}

on_both_databases! {
    /// Given a schema that published versions break, the answer names the active one first, then the newest; with validate_only the same,
    /// and nothing changes. All of them stay as they are.
    async fn a_schema_says_which_versions_it_would_refuse(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        for (content, label) in [("a: 1", "1.0.0"), ("a: 2", "1.1.0"), ("a: 30", "1.2.0"), ("a: 4", "1.3.0")] {
            labelled(&client, "p", content, label).await;
        }
        activate(&client, "p", 2).await;
        let rehearsed = pb::UpdatePolicyRequest { validate_only: true, ..request("p", schema(SCHEMA)) };
        let rehearsed = client.update_policy(rehearsed).await.expect("a rehearsal");
        let expected = [(2, true, "json-schema", "/a"), (4, false, "json-schema", "/a"), (1, false, "json-schema", "/a")];
        assert_eq!(found(&rehearsed.violations), expected);
        let first = &rehearsed.violations[0];
        assert_eq!((first.label.as_str(), first.severity()), ("1.1.0", pb::GuardrailSeverity::Deny));
        assert_eq!((first.message.as_str(), first.guardrail.as_str()), ("2 is less than the minimum of 10", ""));
        assert_eq!((rehearsed.versions_tried, rehearsed.versions_not_tried, rehearsed.violations_not_listed), (4, 0, 0));
        assert!(rehearsed.cursor.is_none());

        let change = pb::UpdatePolicyRequest { request_id: "set-it".to_owned(), ..request("p", schema(SCHEMA)) };
        let done = client.update_policy(change.clone()).await.expect("a change");
        assert!(done.cursor.is_some());
        assert_eq!(found(&done.violations), expected);
        assert_eq!(client.update_policy(change).await.expect("its retry"), done);
        assert_eq!(active(&client, "p").await, 2);

        // What decides about no version is not tried.
        let other = pb::PolicySettings { max_open_drafts: 3, ..Default::default() };
        let other = client.update_policy(request("p", other)).await.expect("a change");
        assert_eq!((other.versions_tried, other.versions_not_tried, other.violations.len()), (0, 0, 0), "{other:?}");
    }

    /// Given reference keys, references of published versions that lead nowhere are named with their place.
    async fn reference_keys_say_which_versions_they_would_refuse(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        release(&client, "p", "see: '#/a'\na: 1").await;
        publish(&client, "p", "see: '#/b'\na: 1").await;
        let keys = pb::PolicySettings { reference_keys: vec!["see".to_owned()], ..Default::default() };
        let done = client.update_policy(request("p", keys)).await.expect("a change");
        assert_eq!(found(&done.violations), [(2, false, "references", "/see")]);
        assert_eq!(done.versions_tried, 2);
    }

    /// Given guardrails, published versions are tried as well as active ones, each guardrail is named once for a version, and what is
    /// left out of the list is counted.
    async fn guardrails_say_which_published_versions_they_would_refuse(hub: Hub) {
        let client = hub.client().await;
        for number in 1..=26 {
            publish(&client, "p", &format!("a: {number}\nlist: [1, 2]")).await;
        }
        activate(&client, "p", 3).await;
        let of_list = pb::Guardrail { for_each: "/list/*".to_owned(), ..guardrail("list", "value > 5") };
        let names = ["b", "c", "d"].map(|id| guardrail(id, "content.a > 100"));
        let set = [vec![of_list], names.to_vec()].concat();
        let done = client.update_guardrails(update_guardrails(OWN, set)).await.expect("guardrails");
        assert_eq!((done.versions_tried, done.versions_not_tried), (26, 0));
        assert_eq!((done.violations.len(), done.violations_not_listed), (100, 4));
        let first: Vec<_> = done.violations.iter().take(5).map(|each| (number(each), each.guardrail.as_str())).collect();
        assert_eq!(first, [(3, "list"), (3, "b"), (3, "c"), (3, "d"), (26, "list")]);
        assert_eq!(found(&done.violations[..1]), [(3, true, "guardrails", "/list/0")]);
        // What is active is the version with which each is compared.
        let done = set_guardrails(&client, OWN, &[("below", "content.a <= active.content.a")]).await;
        assert_eq!((done.versions_tried, done.violations.len()), (26, 23));
        assert!(done.violations.iter().all(|each| !each.active));
    }
}

on_both_databases! {
    /// Given more required approvals, versions of another store that were never active here lack them.
    async fn more_approvals_say_which_imported_versions_they_would_refuse(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let [admin, ann, bob] = people(&a, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        let request_of = |name| pb::PublishRequest { name, ..Default::default() };
        ann.publish(request_of(reviewed.name)).await.expect("a publication");
        let file = export(&a, "default", "a.jsonl").display().to_string();
        assert_eq!(run(b.cli(), &["import", &file]).0, 0, "imported");
        let client = b.client().await;
        let more = pb::PolicySettings { required_approvals: 2, ..Default::default() };
        let done = client.update_policy(request("p", more)).await.expect("a change");
        assert_eq!(found(&done.violations), [(1, false, "approvals", "")]);
    }

    /// Given a version whose row was changed in the database, rules can be changed, and the answer says that it was not looked at.
    async fn what_was_not_looked_at_is_said(database: Database) {
        let hub = Hub::start_with(database, &["--audit-interval-ms", "0"]).await;
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        keep(&hub, &[]);
        edit(&hub, "UPDATE versions SET author = 'eve' WHERE number = 2");
        let file = hub.dir.path().join("schema.json");
        std::fs::write(&file, SCHEMA).expect("written");
        let path = file.display().to_string();
        let (code, text, errors) = run(hub.cli(), &["policy", "update", "p", "--json-schema", &path, "--validate-only"]);
        assert_eq!(code, 0, "{errors}");
        assert!(text.starts_with("nothing was changed; it would be:\n"), "{text}");
        assert!(text.contains("tried on 1 published version; not looked at: 1\n"), "{text}");
        assert!(text.contains("DENY default/p@1 (active) json-schema at /a: 1 is less than the minimum of 10\n"), "{text}");
        let (code, text, errors) =
            run(hub.cli(), &["policy", "update", "p", "--json-schema", &path, "--validate-only", "--output", "json"]);
        assert_eq!(code, 0, "{errors}");
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&answer["versions_tried"], &answer["versions_not_tried"]), (&1.into(), &1.into()), "{answer}");
        assert_eq!(answer["violations"][0]["check"], "json-schema", "{answer}");
        let expression = "content.a > 5";
        let (code, text, errors) = run(hub.cli(), &["guardrail", "set", "high", "--expression", expression, "--validate-only"]);
        assert_eq!(code, 0, "{errors}");
        assert!(text.contains("tried on 1 published version; not looked at: 1\n"), "{text}");
        assert!(text.contains("DENY default/p@1 (active) guardrails at /a: high: "), "{text}");
    }
}
