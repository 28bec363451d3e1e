//! Guardrails: set by those who may, they refuse versions at each step to a subscriber, and say where and why.

use policyhub::client::pb::PolicyKind::{Json, Opaque, Rego, Yaml};
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::callers::{caller, grant, namespace};
use crate::harness::calls::{
    activate, create, draft_of_its_kind, draft_request, publish, publish_request, refused, refused_fields, release,
    rollback_request, try_activate, version,
};
use crate::harness::guardrails::{guardrail, update_guardrails};
use crate::harness::on_both_databases;

const OWN: &str = "namespaces/default/guardrails";
const STORE: &str = "namespaces/-/guardrails";

async fn set(client: &Client, name: &str, guardrails: Vec<pb::Guardrail>) -> pb::UpdateGuardrailsResponse {
    client.update_guardrails(update_guardrails(name, guardrails)).await.expect("guardrails")
}

async fn stage(client: &Client, id: &str, number: i64) -> Result<pb::StageResponse, ClientError> {
    client.stage(pb::StageRequest { name: version(id, number), ..Default::default() }).await
}

fn number_of(version: &pb::Version) -> i64 {
    version.name.rsplit('/').next().and_then(|number| number.parse().ok()).expect("a number")
}

async fn drafted(client: &Client, id: &str, content: &str) -> i64 {
    number_of(&client.draft(draft_of_its_kind(id, content)).await.expect("a draft").version.expect("a version"))
}

/// Checks that a call was refused by guardrails, with this text.
#[track_caller]
fn denied<T: std::fmt::Debug>(answer: Result<T, ClientError>, text: &str) {
    let error = refused(answer, Code::FailedPrecondition, "VALIDATION_FAILED");
    assert_eq!(error.metadata()["check"], "guardrails", "{error:?}");
    assert!(error.message().contains(text), "{text}: {error:?}");
}

on_both_databases! {
    /// Given a guardrail, it refuses a version at stage and publish with the place and the message, and one that holds passes.
    async fn a_guardrail_refuses_a_version_at_its_place(hub: Hub) {
        let client = hub.client().await;
        let rule = pb::Guardrail {
            for_each: "/rules/*".to_owned(),
            message: "rule {value.id} of {policy.id} lets everybody in".to_owned(),
            ..guardrail("no-wildcard", "value.principal != '*'")
        };
        set(&client, OWN, vec![rule]).await;
        create(&client, "doors", Json, pb::PolicySettings::default()).await;
        let bad = r#"{"rules":[{"id":"a","principal":"ann"},{"id":"b","principal":"*"}]}"#;
        let number = drafted(&client, "doors", bad).await;
        denied(stage(&client, "doors", number).await, "no-wildcard: rule b of doors lets everybody in");
        denied(client.publish(publish_request("doors", number)).await, "lets everybody in");
        let request = pb::GetValidationReportRequest { name: version("doors", number) };
        let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
        let check = report.checks.iter().find(|check| check.id == "guardrails").expect("the check");
        assert_eq!(check.findings[0].pointer, "/rules/1");
        let number = drafted(&client, "doors", &bad.replace('*', "bob")).await;
        let staged = stage(&client, "doors", number).await.expect("it holds").report.expect("a report");
        let check = staged.checks.iter().find(|check| check.id == "guardrails").expect("the check");
        assert_eq!((check.result(), check.findings[0].message.as_str()), (pb::check::Result::Passed, "1 guardrail holds"));
    }

    /// Given a guardrail that is set later, a version that was published before is refused when it is activated or rolled back to, and
    /// what is active stays so. The answer says which published versions break it.
    async fn a_new_guardrail_counts_for_what_is_activated_next(hub: Hub) {
        let client = hub.client().await;
        release(&client, "limits", "max: 30").await;
        release(&client, "limits", "max: 10").await;
        let second = pb::Guardrail { message: "{content.max} is over 20".to_owned(), ..guardrail("ceiling", "content.max <= 20") };
        let done = set(&client, OWN, vec![second.clone()]).await;
        assert_eq!((done.versions_tried, done.versions_not_tried, done.violations.len()), (2, 0, 1), "{done:?}");
        assert_eq!((done.violations[0].version.as_str(), done.violations[0].active), (version("limits", 1).as_str(), false));
        denied(client.rollback(rollback_request("limits", 1)).await, "ceiling: 30 is over 20");
        denied(try_activate(&client, "limits", 1, None).await, "ceiling: 30 is over 20");
        let request = pb::RollbackRequest { skip_validation: true, ..rollback_request("limits", 1) };
        client.rollback(request).await.expect("an admin skips the checks");
        let rehearsed = pb::UpdateGuardrailsRequest { validate_only: true, ..update_guardrails(OWN, vec![second]) };
        let rehearsed = client.update_guardrails(rehearsed).await.expect("a rehearsal");
        assert!(rehearsed.cursor.is_none());
        let broken: Vec<_> = rehearsed.violations.iter().map(|each| (each.version.as_str(), each.message.as_str())).collect();
        assert_eq!(broken, [(version("limits", 1).as_str(), "ceiling: 30 is over 20")]);
        set(&client, OWN, Vec::new()).await;
        activate(&client, "limits", 2).await;
        activate(&client, "limits", 1).await;
    }

    /// Given a warning, the version is published, and its report has it.
    async fn a_warning_refuses_nothing(hub: Hub) {
        let client = hub.client().await;
        let warn = pb::GuardrailSeverity::Warn.into();
        set(&client, OWN, vec![pb::Guardrail { severity: warn, ..guardrail("owner", "has(content.owner)") }]).await;
        let number = number_of(&publish(&client, "p", "a: 1").await);
        let request = pb::GetValidationReportRequest { name: version("p", number) };
        let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
        let check = report.checks.iter().find(|check| check.id == "guardrails").expect("the check");
        assert_eq!(check.result(), pb::check::Result::Warning, "{check:?}");
    }

    /// Given guardrails of the store, they hold in each namespace, and no namespace lifts them.
    async fn guardrails_of_the_store_hold_everywhere(hub: Hub) {
        let client = hub.client().await;
        set(&client, STORE, vec![guardrail("no-secrets", "text == null || !text.contains('BEGIN PRIVATE KEY')")]).await;
        set(&client, OWN, vec![guardrail("no-secrets", "true")]).await;
        create(&client, "p", Opaque, pb::PolicySettings::default()).await;
        let request = pb::DraftRequest { content_type: String::new(), ..draft_request("p", "-----BEGIN PRIVATE KEY-----") };
        let number = number_of(&client.draft(request).await.expect("a draft").version.expect("a version"));
        denied(stage(&client, "p", number).await, "no-secrets");
        let found = client.get_guardrails(pb::GetGuardrailsRequest { name: OWN.to_owned() }).await.expect("both");
        let expression = |set: Option<pb::Guardrails>| set.expect("a set").guardrails[0].expression.clone();
        assert!(expression(found.store_guardrails).starts_with("text == null"));
        assert_eq!(expression(found.guardrails), "true");
        let found = client.get_guardrails(pb::GetGuardrailsRequest { name: STORE.to_owned() }).await.expect("those of the store");
        assert!(found.store_guardrails.is_none() && found.guardrails.is_some());
    }

    /// Given a guardrail that compares with the active version, each activation is checked against what is active by then.
    async fn a_guardrail_compares_with_what_is_active(hub: Hub) {
        let client = hub.client().await;
        create(&client, "rules", Yaml, pb::PolicySettings::default()).await;
        let keeps = "active == null || policy.required_approvals >= 2 || active.content.deny.all(d, d in content.deny)";
        set(&client, OWN, vec![guardrail("keeps-denies", keeps)]).await;
        release(&client, "rules", "deny: [a]").await;
        release(&client, "rules", "deny: [a, b]").await;
        let number = drafted(&client, "rules", "deny: [b]").await;
        denied(stage(&client, "rules", number).await, "keeps-denies");
        denied(client.rollback(rollback_request("rules", 1)).await, "keeps-denies");
    }

    /// Given a set that is wrong, every field that is wrong is named, and nothing changes.
    async fn a_set_that_is_wrong_is_refused(hub: Hub) {
        let client = hub.client().await;
        let wrong = vec![guardrail("Upper", "true"), pb::Guardrail { severity: 0, ..guardrail("b", "true") }];
        refused_fields(client.update_guardrails(update_guardrails(OWN, wrong)).await, &["guardrails.guardrails[1].severity"]);
        refused_fields(client.update_guardrails(update_guardrails(OWN, vec![guardrail("Upper", "")])).await,
            &["guardrails.guardrails[0].id", "guardrails.guardrails[0].expression"]);
        let broken = vec![guardrail("a", "true"), guardrail("b", "content."), guardrail("c", "nobody.knows > 1")];
        refused_fields(client.update_guardrails(update_guardrails(OWN, broken)).await,
            &["guardrails.guardrails[1]", "guardrails.guardrails[2]"]);
        refused_fields(client.update_guardrails(update_guardrails("namespaces/default", Vec::new())).await, &["guardrails.name"]);
        let answer = client.update_guardrails(update_guardrails("namespaces/nowhere/guardrails", Vec::new())).await;
        refused(answer, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let found = client.get_guardrails(pb::GetGuardrailsRequest { name: OWN.to_owned() }).await.expect("a set");
        assert_eq!(found.guardrails.expect("a set").guardrails, []);
    }

    /// Given contents that are split up, or of another kind, no guardrail is passed by: each document is evaluated, each file, and OPAQUE
    /// content too.
    async fn no_form_of_content_is_a_way_around_a_guardrail(hub: Hub) {
        let client = hub.client().await;
        let rule = pb::Guardrail { for_each: "/rules/*".to_owned(), ..guardrail("no-wildcard", "value != '*'") };
        set(&client, OWN, vec![rule]).await;
        create(&client, "stream", Yaml, pb::PolicySettings::default()).await;
        let number = drafted(&client, "stream", "rules: [a]\n---\nrules: ['*']\n").await;
        denied(stage(&client, "stream", number).await, "no-wildcard");
        create(&client, "bytes", Opaque, pb::PolicySettings::default()).await;
        let number = drafted(&client, "bytes", "rules: ['*']").await;
        denied(stage(&client, "bytes", number).await, "no-wildcard");
        set(&client, OWN, vec![guardrail("named", "content.contains('package pricing')")]).await;
        create(&client, "rego", Rego, pb::PolicySettings::default()).await;
        let number = drafted(&client, "rego", "package other\n\nallow if true\n").await;
        denied(stage(&client, "rego", number).await, "named");
        let number = drafted(&client, "rego", "package pricing\n\nallow if true\n").await;
        stage(&client, "rego", number).await.expect("it holds");
    }

    /// Given two who change a set at once, the etag of the second is refused; a retry of the first has one effect.
    async fn changes_have_etags_and_request_ids(hub: Hub) {
        let client = hub.client().await;
        let first = client.get_guardrails(pb::GetGuardrailsRequest { name: OWN.to_owned() }).await.expect("a set");
        let etag = first.guardrails.expect("a set").etag;
        let with_etag = |id: &str| {
            let mut request = update_guardrails(OWN, vec![guardrail(id, "true")]);
            request.guardrails.as_mut().expect("a set").etag.clone_from(&etag);
            pb::UpdateGuardrailsRequest { request_id: format!("set-{id}"), ..request }
        };
        let done = client.update_guardrails(with_etag("a")).await.expect("the first");
        let again = client.update_guardrails(with_etag("a")).await.expect("its retry");
        assert_eq!(done, again);
        refused(client.update_guardrails(with_etag("b")).await, Code::Aborted, "ETAG_MISMATCH");
    }

    /// Given callers with other roles, only an admin and a guardrail admin change guardrails, and those of the store only with a role for
    /// all namespaces.
    async fn the_right_to_change_guardrails_is_one_of_its_own(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "team").await;
        let team = "namespaces/team/guardrails";
        for role in [pb::Role::Author, pb::Role::Publisher, pb::Role::Activator] {
            grant(&admin, "ann", role, "namespaces/team").await;
        }
        grant(&admin, "gil", pb::Role::GuardrailAdmin, "namespaces/team").await;
        let (ann, gil) = (caller(&hub, "ann").await, caller(&hub, "gil").await);
        refused(ann.update_guardrails(update_guardrails(team, Vec::new())).await, Code::PermissionDenied, "PERMISSION_DENIED");
        ann.get_guardrails(pb::GetGuardrailsRequest { name: team.to_owned() }).await.expect("authors read them");
        set(&gil, team, vec![guardrail("a", "true")]).await;
        refused(gil.update_guardrails(update_guardrails(STORE, Vec::new())).await, Code::PermissionDenied, "PERMISSION_DENIED");
        let request = pb::UpdatePolicyRequest {
            policy: Some(pb::Policy { name: "namespaces/team/policies/p".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        refused(gil.update_policy(request).await, Code::PermissionDenied, "PERMISSION_DENIED");
    }
}
