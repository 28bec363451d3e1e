//! The calls most tests make, in one line each.

use policyhub::client::{Client, ClientError, pb};

/// The namespace of the tests.
pub const NAMESPACE: &str = "namespaces/default";

/// A policy's name.
pub fn policy(id: &str) -> String {
    format!("{NAMESPACE}/policies/{id}")
}

/// A version's name.
pub fn version(id: &str, version: impl std::fmt::Display) -> String {
    format!("{NAMESPACE}/policies/{id}/versions/{version}")
}

/// A YAML draft that makes its policy when it is absent.
pub fn draft_request(id: &str, content: &str) -> pb::DraftRequest {
    pb::DraftRequest {
        parent: policy(id),
        content: content.to_owned().into(),
        content_type: "application/yaml".to_owned(),
        allow_missing: true,
        ..Default::default()
    }
}

/// Drafts; answers the version.
pub async fn draft(client: &Client, id: &str, content: &str) -> pb::Version {
    client.draft(draft_request(id, content)).await.expect("a draft").version.expect("a version")
}

/// Drafts and publishes; answers the published version.
pub async fn publish(client: &Client, id: &str, content: &str) -> pb::Version {
    let drafted = draft(client, id, content).await;
    let request = pb::PublishRequest { name: drafted.name, etag: drafted.etag, ..Default::default() };
    client.publish(request).await.expect("a publication").version.expect("a version")
}

/// Activates one version; answers the revision.
pub async fn activate(client: &Client, id: &str, version: i64) -> i64 {
    try_activate(client, id, version, None).await.expect("an activation").revision
}

/// Activates one version if `expected` is active.
pub async fn try_activate(
    client: &Client,
    id: &str,
    version: i64,
    expected: Option<i64>,
) -> Result<pb::ActivateResponse, ClientError> {
    let target = pb::ActivateTarget { policy: policy(id), version, expected_active: expected };
    let request = pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: vec![target],
        reason: "a test".to_owned(),
        ..Default::default()
    };
    client.activate(request).await
}

/// Drafts, publishes and activates; answers the version.
pub async fn release(client: &Client, id: &str, content: &str) -> pb::Version {
    let published = publish(client, id, content).await;
    activate(client, id, published.version).await;
    published
}

/// The number of the active version of a policy, 0 for none.
pub async fn active(client: &Client, id: &str) -> i64 {
    let request = pb::GetPolicyRequest { name: policy(id) };
    client.get_policy(request).await.expect("a policy").policy.expect("a policy").active_version
}

/// The reason of a call that must fail.
pub fn reason<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> String {
    answer.expect_err("the call must be refused").reason
}
