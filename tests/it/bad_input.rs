//! Every mistake of a caller has its code, reason and position; none is INTERNAL, and none changes anything.
//!
//! `refused` and `refused_fields` of the harness assert for every refusal that it is never INTERNAL or UNKNOWN.

use policyhub::client::pb::PolicyKind::{Json, Yaml};
use policyhub::client::pb::activate_target::To;
use policyhub::client::{CONTENT_MAX_BYTES, pb};
use prost_types::FieldMask;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, abandon, activate, create, draft, draft_of_its_kind, draft_request, get_version, head, policy, publish,
    publish_request, refusal, refused, refused_fields, release, rollback_request, try_activate, version,
};
use crate::harness::on_both_databases;

on_both_databases! {
    /// Given content that does not parse, line and column are in the message, in the metadata and in the report.
    async fn unparsable_content_says_where(hub: Hub) {
        let client = hub.client().await;
        for (id, kind, content, line, column) in [
            ("json", Json, "{\n  \"a\": [1,\n x]}", "3", "2"),
            ("yaml", Yaml, "a: 1\nb: [1, 2\nc: 3\n", "3", "2"),
            ("twice", Yaml, "a: 1\nb: 2\na: 3\n", "3", "1"),
        ] {
            create(&client, id, kind, pb::PolicySettings::default()).await;
            client.draft(draft_of_its_kind(id, content)).await.expect("a draft");
            let at = head(&client).await;
            let stage = pb::StageRequest { name: version(id, 1), ..Default::default() };
            for answer in
                [client.stage(stage).await.map(|_| ()), client.publish(publish_request(id, 1)).await.map(|_| ())]
            {
                let error = refused(answer, Code::FailedPrecondition, "VALIDATION_FAILED");
                let place = (error.metadata()["line"].as_str(), error.metadata()["column"].as_str());
                assert_eq!((error.metadata()["check"].as_str(), place), ("parse", (line, column)), "{}", error.message());
                assert!(error.message().contains(&format!("at line {line}, column {column}")), "{}", error.message());
            }
            let request = pb::GetValidationReportRequest { name: version(id, 1) };
            let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
            let failed = report.checks.iter().find(|check| check.id == "parse").expect("the check");
            let [failed] = failed.findings.as_slice() else { panic!("one finding: {failed:?}") };
            assert_eq!((failed.line.to_string(), failed.column.to_string()), (line.to_owned(), column.to_owned()));
            assert!(!report.passed && !failed.message.is_empty());
            assert_eq!(head(&client).await, at);
        }
    }

    /// Given content one byte over the limit, the reason is CONTENT_TOO_LARGE; far over it, MESSAGE_TOO_LARGE, and the connection stays
    /// usable.
    async fn content_has_a_size(hub: Hub) {
        let client = hub.client().await;
        let of =
            |size: usize| pb::DraftRequest { content_type: "text/plain".to_owned(), ..draft_request("p", &"x".repeat(size)) };
        refused(client.draft(of(0)).await, Code::InvalidArgument, "CONTENT_EMPTY");
        let error =
            refused(client.draft(of(CONTENT_MAX_BYTES + 1)).await, Code::ResourceExhausted, "CONTENT_TOO_LARGE");
        assert_eq!(error.metadata()["limit_bytes"], CONTENT_MAX_BYTES.to_string());
        assert_eq!(error.metadata()["size_bytes"], (CONTENT_MAX_BYTES + 1).to_string());
        for size in [CONTENT_MAX_BYTES + (1 << 17), 8 << 20] {
            refused(client.draft(of(size)).await, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        }
        let request = pb::CreateNamespaceRequest { namespace_id: "n".repeat(1 << 17), ..Default::default() };
        refused(client.create_namespace(request).await, Code::ResourceExhausted, "MESSAGE_TOO_LARGE");
        assert_eq!(head(&client).await, 0);
        client.draft(of(CONTENT_MAX_BYTES)).await.expect("exactly the limit");
    }

    /// Given a name of which a part does not exist, the refusal says which part.
    async fn unknown_resources_are_named(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        for (name, reason) in [
            (version("p", 2), "VERSION_NOT_FOUND"),
            (version("p", i64::MAX), "VERSION_NOT_FOUND"),
            (version("p", "v9.9.9"), "VERSION_NOT_FOUND"),
            (version("q", 1), "POLICY_NOT_FOUND"),
            ("namespaces/none/policies/p/versions/1".to_owned(), "NAMESPACE_NOT_FOUND"),
        ] {
            let get = pb::GetVersionRequest { name: name.clone(), ..Default::default() };
            refused(client.get_version(get).await, Code::NotFound, reason);
            let stage = pb::StageRequest { name: name.clone(), ..Default::default() };
            refused(client.stage(stage).await, Code::NotFound, reason);
            let publish = pb::PublishRequest { name: name.clone(), ..Default::default() };
            refused(client.publish(publish).await, Code::NotFound, reason);
            let abandon = pb::AbandonDraftRequest { name: name.clone(), ..Default::default() };
            refused(client.abandon_draft(abandon).await, Code::NotFound, reason);
            let report = pb::GetValidationReportRequest { name };
            refused(client.get_validation_report(report).await, Code::NotFound, reason);
        }
        let (parent, not_found) = ("namespaces/none".to_owned(), "NAMESPACE_NOT_FOUND");
        let list = pb::ListPoliciesRequest { parent: parent.clone(), ..Default::default() };
        refused(client.list_policies(list).await, Code::NotFound, not_found);
        let list = pb::ListEventsRequest { parent: parent.clone(), ..Default::default() };
        refused(client.list_events(list).await, Code::NotFound, not_found);
        let create =
            pb::CreatePolicyRequest { parent: parent.clone(), policy_id: "p".to_owned(), ..Default::default() };
        refused(client.create_policy(create).await, Code::NotFound, not_found);
        let draft = pb::DraftRequest { parent: format!("{parent}/policies/p"), ..draft_request("p", "a: 1") };
        refused(client.draft(draft).await, Code::NotFound, not_found);
        let update = pb::UpdateNamespaceRequest {
            namespace: Some(pb::Namespace { name: parent, description: "d".to_owned(), ..Default::default() }),
            ..Default::default()
        };
        refused(client.update_namespace(update).await, Code::NotFound, not_found);
    }

    /// Given malformed names, they are refused before any lookup, and the field is named.
    async fn malformed_words_name_their_field(hub: Hub) {
        let client = hub.client().await;
        let long = "p".repeat(64);
        for id in ["", "P", "-p", "p-", "_p", "p_", "p q", "é", "p/q", "../p", "p\n", long.as_str()] {
            let draft = pb::DraftRequest { parent: policy(id), ..draft_request("p", "a: 1") };
            refused_fields(client.draft(draft).await, &["parent"]);
            refused_fields(client.get_policy(pb::GetPolicyRequest { name: policy(id) }).await, &["name"]);
            let create = pb::CreatePolicyRequest {
                parent: NAMESPACE.to_owned(),
                policy_id: id.to_owned(),
                ..Default::default()
            };
            refused_fields(client.create_policy(create).await, &["policy_id"]);
            let namespace = pb::CreateNamespaceRequest { namespace_id: id.to_owned(), ..Default::default() };
            refused_fields(client.create_namespace(namespace).await, &["namespace_id"]);
            refused_fields(try_activate(&client, id, 1, None).await, &["targets[0].policy"]);
        }
        draft(&client, "p", "a: 1").await;
        for number in ["0", "-1", "01", "1.5", "newest", "v1", "", "99999999999999999999"] {
            let get = pb::GetVersionRequest { name: version("p", number), ..Default::default() };
            refused_fields(client.get_version(get).await, &["name"]);
        }
        let long = format!("1.0.0-{}", "a".repeat(64));
        for label in ["1", "1.0", "v", "01.0.0", "1.0.0.0", "latest", " 1.0.0", long.as_str()] {
            let draft = pb::DraftRequest { label: label.to_owned(), ..draft_request("p", "a: 1") };
            refused_fields(client.draft(draft).await, &["label"]);
        }
        for request_id in ["é", "a b", "a\n", "x".repeat(65).as_str()] {
            let draft = pb::DraftRequest { request_id: request_id.to_owned(), ..draft_request("p", "a: 1") };
            refused_fields(client.draft(draft).await, &["request_id"]);
        }
        for etag in ["an etag", "\n", "\u{e4}", "9".repeat(65).as_str()] {
            let stage = pb::StageRequest { name: version("p", 1), etag: etag.to_owned(), ..Default::default() };
            refused_fields(client.stage(stage).await, &["etag"]);
        }
        for page_token in ["x", "????", "AAAA", "TGlzdFBvbGljaWVz", "x".repeat(5_000).as_str()] {
            let list = pb::ListPoliciesRequest {
                parent: NAMESPACE.to_owned(),
                page_token: page_token.to_owned(),
                ..Default::default()
            };
            refused(client.list_policies(list).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        }
        let list = pb::ListVersionsRequest { parent: policy("p"), page_size: -1, ..Default::default() };
        refused_fields(client.list_versions(list).await, &["page_size"]);
        let draft = pb::DraftRequest { content_type: "a\u{7}".to_owned(), ..draft_request("p", "a: 1") };
        refused_fields(client.draft(draft).await, &["content_type"]);
        let draft = pb::DraftRequest { base_version: -1, ..draft_request("p", "a: 1") };
        refused_fields(client.draft(draft).await, &["base_version"]);
        assert_eq!(head(&client).await, 1);
    }

    /// Given several violations in a request, the refusal names all of them.
    async fn all_violations_come_at_once(hub: Hub) {
        let client = hub.client().await;
        let target = |version: i64| pb::ActivateTarget { policy: "p".to_owned(), to: Some(To::Version(version)), expected_active: None };
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![target(0)],
            reason: String::new(),
            ..Default::default()
        };
        refused_fields(client.activate(request).await, &["reason", "targets[0].version"]);
    }

    /// Malformed names and labels are included, though they are parsed first.
    async fn all_malformed_words_come_at_once(hub: Hub) {
        let client = hub.client().await;
        let request = pb::DraftRequest { parent: policy("P"), label: "x".to_owned(), ..draft_request("p", "a: 1") };
        refused_fields(client.draft(request).await, &["parent", "label"]);
    }

    /// Given a version in the wrong state, or an outdated etag or expectation, the request is refused.
    async fn wrong_states_and_stale_words(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, pb::PolicySettings { max_open_drafts: 1, ..Default::default() }).await;
        draft(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        abandon(&client, "p", 2).await;
        publish(&client, "p", "a: 3").await;
        draft(&client, "p", "a: 4").await;
        let at = head(&client).await;
        for (number, state) in [(1, "SUPERSEDED"), (2, "ABANDONED"), (3, "PUBLISHED")] {
            let error = refused(
                client.publish(publish_request("p", number)).await,
                Code::FailedPrecondition,
                "VERSION_NOT_OPEN",
            );
            assert_eq!(error.metadata()["state"], state);
        }
        let error =
            refused(try_activate(&client, "p", 4, None).await, Code::FailedPrecondition, "VERSION_NOT_PUBLISHED");
        assert_eq!(error.metadata()["state"], "DRAFT");
        refused(client.rollback(rollback_request("p", 0)).await, Code::FailedPrecondition, "NO_PREVIOUS_VERSION");
        let current = get_version(&client, "p", 4).await.etag;
        let publish = pb::PublishRequest { etag: "77".to_owned(), ..publish_request("p", 4) };
        let abandon = pb::AbandonDraftRequest { name: version("p", 4), etag: "77".to_owned(), ..Default::default() };
        let stage = pb::StageRequest { name: policy("p"), etag: "77".to_owned(), ..Default::default() };
        for answer in [
            client.publish(publish).await.map(|_| ()),
            client.abandon_draft(abandon).await.map(|_| ()),
            client.stage(stage).await.map(|_| ()),
        ] {
            let error = refused(answer, Code::Aborted, "ETAG_MISMATCH");
            assert_eq!((error.metadata()["given"].as_str(), &error.metadata()["current"]), ("77", &current));
        }
        let error = refused(try_activate(&client, "p", 3, Some(9)).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
        assert_eq!((error.metadata()["expected_active"].as_str(), error.metadata()["current_active"].as_str()), ("9", "0"));
        let duplicate =
            |policy: &str| pb::ActivateTarget { policy: policy.to_owned(), to: Some(To::Version(3)), expected_active: None };
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![duplicate("p"), duplicate(&policy("p"))],
            reason: "twice".to_owned(),
            ..Default::default()
        };
        let error = refused(client.activate(request).await, Code::InvalidArgument, "DUPLICATE_TARGET");
        assert_eq!(error.metadata()["policy"], "p");
        assert_eq!(head(&client).await, at);
    }

    /// Notes and reasons are required where specified, and limited everywhere.
    async fn reasons_are_required_and_bounded(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        draft(&client, "p", "a: 3").await;
        let at = head(&client).await;
        let target = pb::ActivateTarget { policy: "p".to_owned(), to: Some(To::Version(1)), expected_active: None };
        for (bad, required) in [("", true), (" \n\t", true), ("x".repeat(4097).as_str(), false)] {
            let reason = bad.to_owned();
            let request = pb::ActivateRequest {
                parent: NAMESPACE.to_owned(),
                targets: vec![target.clone()],
                reason: reason.clone(),
                ..Default::default()
            };
            refused_fields(client.activate(request).await, &["reason"]);
            let request = pb::RollbackRequest { reason: reason.clone(), ..rollback_request("p", 1) };
            refused_fields(client.rollback(request).await, &["reason"]);
            let request = pb::DeactivateRequest { name: policy("p"), reason: reason.clone(), ..Default::default() };
            refused_fields(client.deactivate(request).await, &["reason"]);
            let request = pb::PublishRequest { activate: true, reason: reason.clone(), ..publish_request("p", 3) };
            refused_fields(client.publish(request).await, &["reason"]);
            if !required {
                let request =
                    pb::AbandonDraftRequest { name: version("p", 3), reason: reason.clone(), ..Default::default() };
                refused_fields(client.abandon_draft(request).await, &["reason"]);
                let request = pb::DraftRequest { change_note: reason, ..draft_request("p", "a: 4") };
                refused_fields(client.draft(request).await, &["change_note"]);
            }
        }
        assert_eq!(head(&client).await, at);
    }

    /// Given any number of violations, the refusal fits into its HTTP headers.
    async fn a_refusal_always_arrives(hub: Hub) {
        let client = hub.client().await;
        let targets = (0..100).map(|index| pb::ActivateTarget {
            policy: format!("{}-{index}", "p".repeat(58)),
            to: None,
            expected_active: None,
        });
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: targets.collect(),
            reason: "r".to_owned(),
            ..Default::default()
        };
        assert_eq!(refusal(client.activate(request).await).code(), Code::InvalidArgument);
        release(&client, "p", "a: 1").await;
        let mask = FieldMask { paths: vec!["x".repeat(20_000)] };
        let given = pb::Policy { name: policy("p"), ..Default::default() };
        let request = pb::UpdatePolicyRequest { policy: Some(given), update_mask: Some(mask), ..Default::default() };
        refused_fields(client.update_policy(request).await, &["update_mask"]);
        let keys: String = (0..2_000).map(|index| format!("\"key {index}\": 1,\n")).collect();
        let strict = r#"{"additionalProperties":false}"#;
        create(&client, "q", Json, pb::PolicySettings { json_schema: strict.to_owned(), ..Default::default() }).await;
        client.draft(draft_of_its_kind("q", &format!("{{{keys}\"z\": 1}}"))).await.expect("a draft");
        let stage = pb::StageRequest { name: policy("q"), ..Default::default() };
        refused(client.stage(stage).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        let deep = format!("{{\"{}\": 1, x}}", "\u{e9}".repeat(100_000));
        draft(&client, "json-deep", &deep).await;
        let stage = pb::StageRequest { name: policy("json-deep"), ..Default::default() };
        refused(client.stage(stage).await, Code::FailedPrecondition, "VALIDATION_FAILED");
        activate(&client, "p", 1).await;
    }
}
