//! An etag names one resource in one state: no other resource, and no earlier or later state, has the same.

use policyhub::client::{Client, pb};
use prost_types::FieldMask;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, abandon, active, create, draft, draft_request, get, get_version, policy, publish_request, refused,
    version,
};
use crate::harness::on_both_databases;

fn publish_by_policy(id: &str, etag: &str) -> pb::PublishRequest {
    pb::PublishRequest {
        name: policy(id),
        etag: etag.to_owned(),
        activate: true,
        reason: "reviewed".to_owned(),
        ..Default::default()
    }
}

fn change_of(policy: &pb::Policy, etag: &str) -> pb::UpdatePolicyRequest {
    let changed = pb::Policy {
        name: policy.name.clone(),
        description: "changed".to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let mask = FieldMask { paths: vec!["description".to_owned()] };
    pb::UpdatePolicyRequest { policy: Some(changed), update_mask: Some(mask), ..Default::default() }
}

async fn namespace(client: &Client, id: &str) -> pb::Namespace {
    let request = pb::CreateNamespaceRequest { namespace_id: id.to_owned(), ..Default::default() };
    client.create_namespace(request).await.expect("a namespace").namespace.expect("a namespace")
}

fn change_of_namespace(name: &str, etag: &str) -> pb::UpdateNamespaceRequest {
    let changed = pb::Namespace {
        name: name.to_owned(),
        description: "changed".to_owned(),
        etag: etag.to_owned(),
        ..Default::default()
    };
    let mask = FieldMask { paths: vec!["description".to_owned()] };
    pb::UpdateNamespaceRequest { namespace: Some(changed), update_mask: Some(mask), ..Default::default() }
}

on_both_databases! {
    /// Given a reviewer of one draft who publishes by the policy's name, the draft that replaced it is not published.
    async fn another_draft_has_another_etag(hub: Hub) {
        let client = hub.client().await;
        let reviewed = draft(&client, "p", "a: 1").await;
        abandon(&client, "p", 1).await;
        // Also with the same bytes: a review of one version is no review of another.
        for content in ["a: 666", "a: 1"] {
            let replacing = draft(&client, "p", content).await;
            assert_ne!(replacing.etag, reviewed.etag, "{content}");
            for guess in [reviewed.etag.as_str(), "1"] {
                let error = refused(client.publish(publish_by_policy("p", guess)).await, Code::Aborted, "ETAG_MISMATCH");
                assert_eq!((error.metadata()["given"].as_str(), &error.metadata()["current"]), (guess, &replacing.etag));
            }
            assert_eq!(active(&client, "p").await, 0, "nothing was published");
            abandon(&client, "p", replacing.version).await;
        }
        let last = draft(&client, "p", "a: 2").await;
        client.publish(publish_by_policy("p", &last.etag)).await.expect("the one that was seen");
        assert_eq!(active(&client, "p").await, last.version);
    }

    /// Given versions that differ only in their policy, their etags differ.
    async fn an_etag_of_another_policys_version_does_not_match(hub: Hub) {
        let client = hub.client().await;
        let (one, other) = (draft(&client, "p", "a: 1").await, draft(&client, "q", "a: 1").await);
        let stage = pb::StageRequest { name: version("p", 1), etag: other.etag.clone(), ..Default::default() };
        refused(client.stage(stage.clone()).await, Code::Aborted, "ETAG_MISMATCH");
        let end = pb::AbandonDraftRequest { name: version("p", 1), etag: other.etag.clone(), ..Default::default() };
        refused(client.abandon_draft(end).await, Code::Aborted, "ETAG_MISMATCH");
        let publish = pb::PublishRequest { etag: other.etag, ..publish_request("p", 1) };
        refused(client.publish(publish).await, Code::Aborted, "ETAG_MISMATCH");
        let staged = client.stage(pb::StageRequest { etag: one.etag.clone(), ..stage }).await.expect("its own");
        let staged = staged.version.expect("a version");
        assert_ne!(staged.etag, one.etag, "the state is part of it");
        assert_eq!(get_version(&client, "p", 1).await.etag, staged.etag, "however it is read");
        let request = pb::ListVersionsRequest { parent: policy("p"), ..Default::default() };
        let listed = client.list_versions(request).await.expect("versions").versions;
        assert_eq!(listed[0].etag, staged.etag);
    }

    /// Given policies and namespaces that have changed equally often, their etags differ.
    async fn an_etag_of_another_policy_or_namespace_does_not_match(hub: Hub) {
        let client = hub.client().await;
        let one = create(&client, "p", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        let other = create(&client, "q", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        for wrong in [other.etag.as_str(), "1"] {
            refused(client.update_policy(change_of(&one, wrong)).await, Code::Aborted, "ETAG_MISMATCH");
        }
        assert_eq!(get(&client, "p").await, one);
        client.update_policy(change_of(&one, &one.etag)).await.expect("its own");

        let (team, other) = (namespace(&client, "team").await, namespace(&client, "other").await);
        for wrong in [other.etag.as_str(), &one.etag, "1"] {
            let change = change_of_namespace(&team.name, wrong);
            refused(client.update_namespace(change).await, Code::Aborted, "ETAG_MISMATCH");
        }
        client.update_namespace(change_of_namespace(&team.name, &team.etag)).await.expect("its own");
    }

    /// Given a policy of the same name in another namespace, with the same draft, the etags differ.
    async fn an_etag_of_another_namespace_does_not_match(hub: Hub) {
        let client = hub.client().await;
        namespace(&client, "team").await;
        draft(&client, "p", "a: 1").await;
        let elsewhere = pb::DraftRequest {
            parent: policy("p").replace(NAMESPACE, "namespaces/team"),
            ..draft_request("p", "a: 1")
        };
        let other = client.draft(elsewhere).await.expect("a draft").version.expect("a version");
        refused(client.publish(publish_by_policy("p", &other.etag)).await, Code::Aborted, "ETAG_MISMATCH");
    }
}
