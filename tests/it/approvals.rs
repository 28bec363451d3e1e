//! Approvals: the required number for exactly this digest, by others than its author, under the current policy settings
//! (docs/security.md#t33).

use policyhub::client::pb;
use policyhub::client::pb::VersionState::{Published, Rejected, Staged};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, abandon, create, draft, draft_request, events, get, get_version, head, policy, publish,
    publish_request, refused, refused_fields, rollback_request, set, version,
};
use crate::harness::on_both_databases;
use crate::harness::reviews::{
    approval, approve, approvers, last_event, needs, people, person, rejection, reviewed_policy, staged,
};

/// Checks how many approvals a refused publication had and needed.
#[track_caller]
fn missing<T: std::fmt::Debug>(answer: Result<T, policyhub::client::ClientError>, given: &str, required: &str) {
    let error = refused(answer, Code::FailedPrecondition, "APPROVALS_MISSING");
    assert_eq!(
        (error.metadata()["given"].as_str(), error.metadata()["required"].as_str()),
        (given, required),
        "{error:?}"
    );
}

on_both_databases! {
    /// Given two required approvals, the author's does not count, and nobody's counts twice.
    async fn publish_needs_approvals_of_others(hub: Hub) {
        let [admin, ann, bob, cat] = people(&hub, ["admin", "ann", "bob", "cat"]).await;
        reviewed_policy(&admin, "p", 2).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let at = head(&admin).await;
        missing(ann.publish(publish_request("p", 1)).await, "0", "2");
        let error = refused(approve(&ann, &reviewed).await, Code::FailedPrecondition, "SELF_APPROVAL");
        assert_eq!(error.metadata()["author"], "local:ann");
        assert_eq!(head(&admin).await, at, "a refusal changes nothing");

        let first = approve(&bob, &reviewed).await.expect("an approval");
        assert_eq!(first.cursor.revision(), at + 1);
        let renewed = approve(&bob, &reviewed).await.expect("a renewal");
        assert_eq!(renewed.cursor.revision(), at + 2);
        let expiry = |answer: &pb::ApproveVersionResponse| {
            let version = answer.version.as_ref().expect("a version");
            assert_eq!((version.state(), version.approvals.len()), (Staged, 1));
            let approval = &version.approvals[0];
            assert_eq!((approval.digest.as_str(), approval.reason.as_str()), (reviewed.digest.as_str(), "read"));
            let (from, until) = (approval.create_time.expect("a time"), approval.expire_time.expect("a time"));
            assert_eq!((until.seconds - from.seconds, until.nanos), (7 * 24 * 60 * 60, from.nanos));
            (until.seconds, until.nanos)
        };
        assert!(expiry(&first) < expiry(&renewed), "a renewal counts from now");
        for validate_only in [false, true] {
            missing(bob.publish(pb::PublishRequest { validate_only, ..publish_request("p", 1) }).await, "1", "2");
        }

        let last = approve(&cat, &reviewed).await.expect("an approval");
        assert_eq!(approvers(&ann, "p", 1).await, ["local:bob", "local:cat"]);
        let request = pb::PublishRequest { activate: true, reason: "go".to_owned(), ..publish_request("p", 1) };
        let rehearsal = pb::PublishRequest { validate_only: true, ..request.clone() };
        assert_eq!(bob.publish(rehearsal).await.expect("an answer").cursor.revision(), 0);
        let published = bob.publish(request).await.expect("a publication").version.expect("a version");
        assert_eq!((published.state(), published.publisher.as_str()), (Published, "local:bob"));
        assert_eq!(approvers(&ann, "p", 1).await, Vec::<String>::new(), "what is published needs none");
        let (event, grounds) = last_event(&admin).await;
        let expected = [("local:bob".to_owned(), renewed.cursor.revision()), ("local:cat".to_owned(), last.cursor.revision())];
        assert_eq!((event.kind(), grounds), (pb::EventKind::Activate, expected.to_vec()));
        let error = refused(approve(&cat, &published).await, Code::FailedPrecondition, "VERSION_NOT_OPEN");
        assert_eq!(error.metadata()["state"], "PUBLISHED");
    }

    /// The event of an approval says who approved what, under which policy, until when.
    async fn an_approval_is_one_event(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let given = approve(&bob, &reviewed).await.expect("an approval");
        let (event, grounds) = last_event(&admin).await;
        assert_eq!((event.kind(), event.actor.as_str()), (pb::EventKind::ApproveVersion, "local:bob"));
        assert_eq!((event.reason.as_str(), event.policy), ("read", policy("p")));
        assert_eq!((event.cursor.expect("a cursor").revision, event.changes.len()), (given.cursor.revision(), 0));
        let change = &event.versions[0];
        assert_eq!((&change.version_name, change.state(), &change.digest), (&reviewed.name, pb::VersionState::Staged, &reviewed.digest));
        assert_eq!(grounds, [("local:bob".to_owned(), given.cursor.revision())]);
        let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
        assert_eq!(payload["approvals"][0]["policy_etag"], 1);
        assert_eq!(payload["approvals"][0]["digest"], reviewed.digest);
        assert_eq!(payload["approvals"][0].get("reason"), None, "the event says it once");
        // The approved version does not change: its etag from before is still valid.
        let request = pb::PublishRequest { etag: reviewed.etag, ..publish_request("p", 1) };
        ann.publish(request).await.expect("the author may publish what others approved");
        assert_eq!(last_event(&admin).await.0.kind(), pb::EventKind::Publish);
    }

    /// Given the same bytes in another version, policy or namespace, they are not approved.
    async fn an_approval_is_of_one_version(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        let team = pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
        admin.create_namespace(team).await.expect("a namespace");
        reviewed_policy(&admin, "p", 1).await;
        reviewed_policy(&admin, "q", 1).await;
        let there = pb::CreatePolicyRequest {
            parent: "namespaces/team".to_owned(),
            policy_id: "p".to_owned(),
            policy: Some(pb::Policy {
                kind: pb::PolicyKind::Yaml.into(),
                settings: Some(needs(1)),
                ..Default::default()
            }),
            ..Default::default()
        };
        admin.create_policy(there).await.expect("a policy");
        let approved = staged(&ann, "p", "a: 1").await;
        let again = staged(&ann, "p", "a: 1").await;
        staged(&ann, "q", "a: 1").await;
        let parent = "namespaces/team/policies/p".to_owned();
        let elsewhere = ann.draft(pb::DraftRequest { parent, ..draft_request("p", "a: 1") }).await.expect("a draft");
        let elsewhere = elsewhere.version.expect("a version").name;
        ann.stage(pb::StageRequest { name: elsewhere.clone(), ..Default::default() }).await.expect("a stage");
        assert_eq!((approved.digest.as_str(), approved.version, again.version), (again.digest.as_str(), 1, 2));
        approve(&bob, &approved).await.expect("an approval");
        missing(ann.publish(publish_request("p", 2)).await, "0", "1");
        missing(ann.publish(publish_request("q", 1)).await, "0", "1");
        missing(ann.publish(pb::PublishRequest { name: elsewhere, ..Default::default() }).await, "0", "1");
        ann.publish(publish_request("p", 1)).await.expect("a publication");
    }

    /// Given a version that is not staged, has ended, or whose etag differs, an approval is refused.
    async fn what_can_not_be_approved(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let drafted = draft(&ann, "p", "a: 1").await;
        let error = refused(approve(&bob, &drafted).await, Code::FailedPrecondition, "VERSION_NOT_STAGED");
        assert_eq!(error.metadata()["state"], "DRAFT");
        // Publish would stage it by itself, so nobody can have approved it.
        missing(ann.publish(publish_request("p", 1)).await, "0", "1");
        let other = staged(&ann, "p", "a: 2").await;
        let at = head(&admin).await;
        let swapped = pb::ApproveVersionRequest { digest: drafted.digest.clone(), ..approval(&other) };
        let error = refused(bob.approve_version(swapped).await, Code::Aborted, "DIGEST_MISMATCH");
        assert_eq!(error.metadata()["digest"], other.digest);
        let error = refused(
            bob.reject_version(pb::RejectVersionRequest { digest: drafted.digest, ..rejection(&other) }).await,
            Code::Aborted,
            "DIGEST_MISMATCH",
        );
        assert_eq!(error.metadata()["digest"], other.digest);
        for digest in ["", "sha256:", &other.digest.to_uppercase()] {
            let request = pb::ApproveVersionRequest { digest: digest.to_owned(), ..approval(&other) };
            refused_fields(bob.approve_version(request).await, &["digest"]);
        }
        let both = pb::ApproveVersionRequest { name: version("p", "latest"), ..Default::default() };
        refused_fields(bob.approve_version(both).await, &["name", "digest"]);
        let long = pb::ApproveVersionRequest { reason: "r".repeat(4_097), ..approval(&other) };
        refused_fields(bob.approve_version(long).await, &["reason"]);
        let absent = pb::ApproveVersionRequest { name: version("p", 9), ..approval(&other) };
        refused(bob.approve_version(absent).await, Code::NotFound, "VERSION_NOT_FOUND");
        refused_fields(
            bob.reject_version(pb::RejectVersionRequest { reason: " ".to_owned(), ..rejection(&other) }).await,
            &["reason"],
        );
        assert_eq!(head(&admin).await, at);
        abandon(&ann, "p", 2).await;
        for reviewed in [&other] {
            let error = refused(approve(&bob, reviewed).await, Code::FailedPrecondition, "VERSION_NOT_OPEN");
            assert_eq!(error.metadata()["state"], "ABANDONED");
        }
        let too_many = pb::Policy { name: policy("p"), settings: Some(needs(65)), ..Default::default() };
        let request = pb::UpdatePolicyRequest { policy: Some(too_many), ..Default::default() };
        refused_fields(admin.update_policy(request).await, &["policy.settings.required_approvals"]);
    }

    /// Given any change of the policy, all earlier approvals are void, for ever.
    async fn any_change_of_the_policy_voids(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let strict = pb::PolicySettings { json_schema: r#"{"required":["a"]}"#.to_owned(), ..needs(1) };
        // The last settings equal the first ones; the approvals from then must not count again.
        for settings in [strict, pb::PolicySettings { allow_backport: true, ..needs(1) }, needs(2), needs(1)] {
            approve(&bob, &reviewed).await.expect("an approval");
            assert_eq!(approvers(&ann, "p", 1).await, ["local:bob"]);
            set(&admin, "p", settings.clone()).await;
            assert_eq!(approvers(&ann, "p", 1).await, Vec::<String>::new(), "{settings:?}");
            missing(ann.publish(publish_request("p", 1)).await, "0", &settings.required_approvals.to_string());
        }
        approve(&bob, &reviewed).await.expect("an approval");
        let description = pb::UpdatePolicyRequest {
            policy: Some(pb::Policy { name: policy("p"), description: "other".to_owned(), ..Default::default() }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["description".to_owned()] }),
            ..Default::default()
        };
        admin.update_policy(description).await.expect("a change");
        missing(ann.publish(publish_request("p", 1)).await, "0", "1");
        approve(&bob, &reviewed).await.expect("an approval");
        // Staging again changes nothing and voids nothing.
        let again = pb::StageRequest { name: reviewed.name.clone(), ..Default::default() };
        assert_eq!(ann.stage(again).await.expect("a stage").cursor.revision(), 0);
        ann.publish(publish_request("p", 1)).await.expect("a publication");
    }

    /// Given a rejected version, its approvals no longer count and its label is free.
    async fn a_rejection_ends_a_version(hub: Hub) {
        let [admin, ann, bob, cat] = people(&hub, ["admin", "ann", "bob", "cat"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let labelled = |content: &str| pb::DraftRequest { label: "1.0.0".to_owned(), ..draft_request("p", content) };
        let drafted = ann.draft(labelled("a: 1")).await.expect("a draft").version.expect("a version");
        let request = pb::StageRequest { name: drafted.name, ..Default::default() };
        let reviewed = ann.stage(request).await.expect("a stage").version.expect("a version");
        approve(&cat, &reviewed).await.expect("an approval");
        let answer = bob.reject_version(rejection(&reviewed)).await.expect("a rejection");
        let rejected = answer.version.expect("a version");
        assert_eq!((rejected.state(), rejected.approvals.len()), (Rejected, 0));
        assert_eq!(get_version(&ann, "p", 1).await.state(), Rejected);
        let (event, _) = last_event(&admin).await;
        assert_eq!((event.kind(), event.actor.as_str()), (pb::EventKind::RejectVersion, "local:bob"));
        assert_eq!((event.versions[0].state(), event.reason.as_str()), (pb::VersionState::Rejected, "not this one"));
        assert_eq!(event.cursor.expect("a cursor").revision, answer.cursor.revision());
        for error in [
            refused(ann.publish(publish_request("p", 1)).await, Code::FailedPrecondition, "VERSION_NOT_OPEN"),
            refused(approve(&cat, &reviewed).await, Code::FailedPrecondition, "VERSION_NOT_OPEN"),
            refused(bob.reject_version(rejection(&reviewed)).await, Code::FailedPrecondition, "VERSION_NOT_OPEN"),
        ] {
            assert_eq!(error.metadata()["state"], "REJECTED");
        }
        let next = ann.draft(labelled("a: 2")).await.expect("its label is free").version.expect("a version");
        let own = pb::RejectVersionRequest { digest: next.digest.clone(), ..rejection(&next) };
        let rejected = ann.reject_version(own).await.expect("one's own, a draft").version.expect("a version");
        assert_eq!(rejected.state(), Rejected);
    }

    /// A copy is published when it is made, so nobody can have approved it. Rolling back to the approved version itself works.
    async fn a_copy_has_no_approvals(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        for content in ["a: 1", "a: 2"] {
            let reviewed = staged(&ann, "p", content).await;
            approve(&bob, &reviewed).await.expect("an approval");
            let request = publish_request("p", reviewed.version);
            let request = pb::PublishRequest { activate: true, reason: "go".to_owned(), ..request };
            ann.publish(request).await.expect("a publication");
        }
        let at = head(&admin).await;
        let copy = |skip_validation| pb::RollbackRequest {
            mode: pb::RollbackMode::CopyForward.into(),
            skip_validation,
            ..rollback_request("p", 1)
        };
        missing(admin.rollback(copy(false)).await, "0", "1");
        missing(admin.rollback(copy(true)).await, "0", "1");
        assert_eq!((head(&admin).await, get(&admin, "p").await.latest_version), (at, 2));
        admin.rollback(rollback_request("p", 1)).await.expect("a rollback");
        set(&admin, "p", needs(0)).await;
        admin.rollback(copy(false)).await.expect_err("it is active");
        admin.rollback(pb::RollbackRequest { to: Some(pb::rollback_request::To::Version(2)), ..copy(false) }).await.expect("a copy");
    }

    /// Given a repeated request, there is one approval and the same answer.
    async fn a_request_has_one_effect(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        let request = pb::ApproveVersionRequest { request_id: "id-1".to_owned(), ..approval(&reviewed) };
        let first = bob.approve_version(request.clone()).await.expect("an approval");
        assert_eq!(bob.approve_version(request.clone()).await.expect("the same"), first);
        let other = pb::ApproveVersionRequest { reason: "another".to_owned(), ..request.clone() };
        refused(bob.approve_version(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        ann.publish(publish_request("p", 1)).await.expect("a publication");
        assert_eq!(bob.approve_version(request).await.expect("still the same"), first);
        let rejected = staged(&ann, "p", "a: 2").await;
        let request = pb::RejectVersionRequest { request_id: "id-1".to_owned(), ..rejection(&rejected) };
        let first = bob.reject_version(request.clone()).await.expect("a rejection");
        assert_eq!(bob.reject_version(request).await.expect("the same"), first);
        let kinds = events(&admin, NAMESPACE, 0).await;
        let count = |kind| kinds.iter().filter(|event| event.kind() == kind).count();
        assert_eq!((count(pb::EventKind::ApproveVersion), count(pb::EventKind::RejectVersion)), (1, 1));
    }

    /// Given a policy that requires none, an approval is accepted and Publish ignores it.
    async fn approvals_nobody_asked_for(hub: Hub) {
        let [ann, bob] = people(&hub, ["ann", "bob"]).await;
        create(&ann, "p", pb::PolicyKind::Yaml, needs(0)).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        assert_eq!(approvers(&ann, "p", 1).await, ["local:bob"]);
        ann.publish(publish_request("p", 1)).await.expect("a publication");
        assert_eq!(last_event(&person(&hub, "admin").await).await.1, []);
        publish(&ann, "p", "a: 2").await;
    }
}
