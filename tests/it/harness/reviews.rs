//! People who review each other's versions: clients of different subjects, and the calls of a review.

use policyhub::client::{Client, ClientError, pb};

use super::Hub;
use super::callers::{caller, try_grant};
use super::calls::{NAMESPACE, create, draft_request, events, get_version, version};

/// Returns a client of another subject of the same issuer, with all permissions.
pub async fn person(hub: &Hub, subject: &str) -> Client {
    let granted = try_grant(&hub.client().await, &format!("local:{subject}"), pb::Role::Admin, "namespaces/-").await;
    // A subject that was used before already has the binding.
    assert!(granted.as_ref().err().is_none_or(|error| error.reason() == "BINDING_EXISTS"), "{granted:?}");
    caller(hub, subject).await
}

/// Returns clients for several subjects.
pub async fn people<const N: usize>(hub: &Hub, subjects: [&str; N]) -> [Client; N] {
    let mut clients = Vec::new();
    for subject in subjects {
        clients.push(person(hub, subject).await);
    }
    clients.try_into().expect("one each")
}

/// Returns settings of a policy that requires approvals.
pub fn needs(required_approvals: i32) -> pb::PolicySettings {
    pb::PolicySettings { required_approvals, ..Default::default() }
}

/// Creates a YAML policy that requires approvals.
pub async fn reviewed_policy(admin: &Client, id: &str, required_approvals: i32) {
    create(admin, id, pb::PolicyKind::Yaml, needs(required_approvals)).await;
}

/// Drafts and stages as the author and returns the version.
pub async fn staged(author: &Client, id: &str, content: &str) -> pb::Version {
    let drafted = author.draft(draft_request(id, content)).await.expect("a draft").version.expect("a version");
    let request = pb::StageRequest { name: drafted.name, ..Default::default() };
    author.stage(request).await.expect("a stage").version.expect("a version")
}

/// Approves a version with the content that was read.
pub async fn approve(approver: &Client, reviewed: &pb::Version) -> Result<pb::ApproveVersionResponse, ClientError> {
    approver.approve_version(approval(reviewed)).await
}

/// Returns a request to approve it.
pub fn approval(reviewed: &pb::Version) -> pb::ApproveVersionRequest {
    let (name, digest) = (reviewed.name.clone(), reviewed.digest.clone());
    pb::ApproveVersionRequest { name, digest, reason: "read".to_owned(), ..Default::default() }
}

/// Returns a request to reject it.
pub fn rejection(reviewed: &pb::Version) -> pb::RejectVersionRequest {
    let (name, digest) = (reviewed.name.clone(), reviewed.digest.clone());
    pb::RejectVersionRequest { name, digest, reason: "not this one".to_owned(), ..Default::default() }
}

/// Returns the approvers that count, as GetVersion and ListVersions show them.
pub async fn approvers(client: &Client, id: &str, number: i64) -> Vec<String> {
    let names = |from: pb::Version| from.approvals.into_iter().map(|approval| approval.approver).collect::<Vec<_>>();
    let got = names(get_version(client, id, number).await);
    let request = pb::ListVersionsRequest { parent: super::calls::policy(id), ..Default::default() };
    let mut listed = client.list_versions(request).await.expect("versions").versions.into_iter();
    let listed = listed.find(|each| each.name == version(id, number)).expect("the version");
    assert_eq!(names(listed), got, "both reads say the same");
    got
}

/// Returns the last event and the approvals in its payload: approver and revision of each.
pub async fn last_event(client: &Client) -> (pb::Event, Vec<(String, i64)>) {
    let event = events(client, NAMESPACE, 0).await.pop().expect("an event");
    let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("JSON");
    let of = |each: &serde_json::Value| {
        let approver = each["approver"].as_str().expect("an approver").to_owned();
        (approver, each["revision"].as_i64().expect("a revision"))
    };
    let approvals = payload["approvals"].as_array().into_iter().flatten().map(of).collect();
    (event, approvals)
}
