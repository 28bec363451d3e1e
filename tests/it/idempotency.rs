//! request_id: the same request has one effect and one answer; another request under the same id is refused.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, ClientError, pb};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, draft, draft_request, events, get, head, policy, publish, refused,
    release, rollback_request, try_activate, version,
};
use crate::harness::on_both_databases;

/// Sends the same call twice, then another one under the same id. `revision` reads the revision of an answer.
async fn once<Q, A, F>(
    client: &Client,
    log: &str,
    request: Q,
    other: Q,
    call: impl Fn(Client, Q) -> F,
    revision: impl Fn(&A) -> i64,
) where
    Q: Clone + Debug,
    A: PartialEq + Debug,
    F: Future<Output = Result<A, ClientError>>,
{
    let before = events(client, log, 0).await.len() as i64;
    let first = call(client.clone(), request.clone()).await.expect("an answer");
    assert_eq!(revision(&first), before + 1, "{request:?}");
    let second = call(client.clone(), request.clone()).await.expect("the same answer");
    assert_eq!(second, first, "the second answer is the first");
    let error = refused(call(client.clone(), other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    assert_eq!(error.metadata()["request_id"], "id-1");
    assert_eq!(events(client, log, 0).await.len() as i64, before + 1, "one event: {request:?}");
}

fn id() -> String {
    "id-1".to_owned()
}

on_both_databases! {
    /// Given every mutation of PolicyService in the order of a lifecycle, each has one effect. Ids are per method: all of them use the same
    /// one.
    async fn every_mutation_has_one_effect(hub: Hub) {
        let client = hub.client().await;
        let request = pb::CreatePolicyRequest {
            parent: NAMESPACE.to_owned(),
            policy_id: "p".to_owned(),
            request_id: id(),
            ..Default::default()
        };
        let other = pb::CreatePolicyRequest { policy_id: "q".to_owned(), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.create_policy(r).await, |a| a.cursor.revision()).await;

        let given = |description: &str| pb::UpdatePolicyRequest {
            policy: Some(pb::Policy { name: policy("p"), description: description.to_owned(), ..Default::default() }),
            request_id: id(),
            ..Default::default()
        };
        once(&client, NAMESPACE, given("a"), given("b"), async |c: Client, r| c.update_policy(r).await, |a| a.cursor.revision())
            .await;

        let request = pb::DraftRequest { request_id: id(), ..draft_request("p", "a: 1") };
        let other = pb::DraftRequest { content: "a: 2".into(), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.draft(r).await, |a| a.cursor.revision()).await;

        draft(&client, "p", "a: 2").await;
        let request = pb::StageRequest { name: version("p", 1), request_id: id(), ..Default::default() };
        let other = pb::StageRequest { name: version("p", 2), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.stage(r).await, |a| a.cursor.revision()).await;

        let request = pb::PublishRequest { name: version("p", 1), request_id: id(), ..Default::default() };
        let other = pb::PublishRequest { reason: "another".to_owned(), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.publish(r).await, |a| a.cursor.revision()).await;

        let request = pb::AbandonDraftRequest { name: version("p", 2), request_id: id(), ..Default::default() };
        let other = pb::AbandonDraftRequest { etag: "1".to_owned(), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.abandon_draft(r).await, |a| a.cursor.revision()).await;

        let target = pb::ActivateTarget { policy: "p".to_owned(), to: Some(To::Version(1)), expected_active: Some(0) };
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![target.clone()],
            reason: "now".to_owned(),
            request_id: id(),
            ..Default::default()
        };
        let other = pb::ActivateRequest {
            targets: vec![pb::ActivateTarget { expected_active: None, ..target }],
            ..request.clone()
        };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.activate(r).await, |a| a.cursor.revision()).await;

        release(&client, "p", "a: 3").await;
        let request = pb::RollbackRequest { request_id: id(), ..rollback_request("p", 0) };
        let other = pb::RollbackRequest { to: Some(pb::rollback_request::To::Version(1)), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.rollback(r).await, |a| a.cursor.revision()).await;
        assert_eq!(active(&client, "p").await, 1, "once, not back and forth");

        let request = pb::DeactivateRequest {
            name: policy("p"),
            reason: "stop".to_owned(),
            request_id: id(),
            ..Default::default()
        };
        let other = pb::DeactivateRequest { expected_active: Some(1), ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.deactivate(r).await, |a| a.cursor.revision()).await;
    }

    /// The same for the mutations of AdminService, and for the modes that create versions.
    async fn namespaces_and_copies_have_one_effect(hub: Hub) {
        let client = hub.client().await;
        let request =
            pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), request_id: id(), ..Default::default() };
        let other = pb::CreateNamespaceRequest { namespace_id: "crew".to_owned(), ..request.clone() };
        let log = "namespaces/system";
        once(&client, log, request, other, async |c: Client, r| c.create_namespace(r).await, |a| a.cursor.revision()).await;
        let given = |description: &str| pb::UpdateNamespaceRequest {
            namespace: Some(pb::Namespace {
                name: "namespaces/team".to_owned(),
                description: description.to_owned(),
                ..Default::default()
            }),
            request_id: id(),
            ..Default::default()
        };
        once(&client, log, given("a"), given("b"), async |c: Client, r| c.update_namespace(r).await, |a| a.cursor.revision())
            .await;

        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        let request = pb::RollbackRequest {
            mode: pb::RollbackMode::CopyForward.into(),
            request_id: id(),
            ..rollback_request("p", 1)
        };
        let other = pb::RollbackRequest { skip_validation: true, ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.rollback(r).await, |a| a.cursor.revision()).await;
        assert_eq!(get(&client, "p").await.latest_version, 3);

        draft(&client, "p", "a: 4").await;
        let request = pb::PublishRequest {
            name: policy("p"),
            activate: true,
            reason: "now".to_owned(),
            request_id: id(),
            ..Default::default()
        };
        let other = pb::PublishRequest { activate: false, ..request.clone() };
        once(&client, NAMESPACE, request, other, async |c: Client, r| c.publish(r).await, |a| a.cursor.revision()).await;
    }

    /// The stored answer does not change, also when the state has changed since; a refusal is not stored, and validate_only uses no id.
    async fn the_answer_stays_what_it_was(hub: Hub) {
        let client = hub.client().await;
        let request = pb::DraftRequest { request_id: id(), ..draft_request("p", "a: 1") };
        let rehearsal = pb::DraftRequest { validate_only: true, content: "a: 0".into(), ..request.clone() };
        client.draft(rehearsal.clone()).await.expect("a rehearsal");
        let first = client.draft(request.clone()).await.expect("a draft");
        client.publish(pb::PublishRequest { name: policy("p"), ..Default::default() }).await.expect("a publication");
        assert_eq!(client.draft(request).await.expect("a draft"), first);
        client.draft(rehearsal).await.expect("a rehearsal is no second use");

        let target = pb::ActivateTarget { policy: "p".to_owned(), to: Some(To::Version(2)), expected_active: None };
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![target],
            reason: "now".to_owned(),
            request_id: id(),
            ..Default::default()
        };
        refused(client.activate(request.clone()).await, Code::NotFound, "VERSION_NOT_FOUND");
        publish(&client, "p", "a: 2").await;
        let first = client.activate(request.clone()).await.expect("a refusal has no effect to repeat");
        activate(&client, "p", 1).await;
        assert_eq!(client.activate(request).await.expect("an answer"), first);
        assert_eq!(active(&client, "p").await, 1, "the second time moved nothing");
    }

    /// Given the same request on 24 connections at once, there is one effect, and all get the same answer.
    async fn concurrent_duplicates_have_one_effect(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        draft(&client, "q", "a: 1").await;
        let at = head(&client).await;
        let barrier = Arc::new(Barrier::new(24));
        let mut calls = JoinSet::new();
        for _ in 0..24 {
            let (client, barrier) = (hub.client().await, barrier.clone());
            calls.spawn(async move {
                barrier.wait().await;
                let request = pb::DraftRequest { request_id: id(), ..draft_request("new", "a: 1") };
                let drafted = client.draft(request).await.expect("a draft");
                barrier.wait().await;
                let request = pb::PublishRequest { name: policy("q"), request_id: id(), ..Default::default() };
                let published = client.publish(request).await.expect("a publication");
                barrier.wait().await;
                let target = pb::ActivateTarget { policy: "p".to_owned(), to: Some(To::Version(1)), expected_active: Some(0) };
                let request = pb::ActivateRequest {
                    parent: NAMESPACE.to_owned(),
                    targets: vec![target],
                    reason: "now".to_owned(),
                    request_id: id(),
                    ..Default::default()
                };
                (drafted, published, client.activate(request).await.expect("an activation"))
            });
        }
        let mut answers = calls.join_all().await;
        answers.dedup();
        let [(drafted, published, activated)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!((drafted.cursor.revision(), published.cursor.revision(), activated.cursor.revision()), (at + 1, at + 2, at + 3));
        assert_eq!(head(&client).await, at + 3);
    }

    /// Without an id nothing is stored; with one, the answer survives a restart.
    async fn an_answer_survives_a_restart(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        assert_eq!(draft(&client, "p", "a: 1").await.version, 2, "without an id it is another draft");
        let request = pb::DraftRequest { request_id: "x".repeat(64), ..draft_request("p", "a: 1") };
        let first = client.draft(request.clone()).await.expect("a draft");
        let hub = hub.restart().await;
        let client = hub.client().await;
        assert_eq!(client.draft(request).await.expect("a draft"), first);
        assert_eq!((head(&client).await, try_activate(&client, "p", 1, None).await.is_err()), (3, true));
    }
}
