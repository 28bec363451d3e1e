//! A missing required field is reported as missing, not as violating a pattern, a length or a list of values.

use policyhub::client::pb;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::calls::NAMESPACE;
use crate::harness::raw::{call, channel};
use crate::harness::{Database, Hub};

/// Methods without a required field.
const NEED_NOTHING: [&str; 2] = ["ListNamespaces", "ListSigningKeys"];

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(pb::DESCRIPTORS).expect("the descriptor set");
    let ours = pool.services().filter(|service| service.package_name() == "policyhub.v1").collect::<Vec<_>>();
    ours.iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Returns each violation with its field.
fn violations(status: &Status) -> Vec<(String, String)> {
    let bad = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    bad.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

fn all_are_required(method: &str, status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{method}: {status:?}");
    let violations = violations(status);
    assert!(!violations.is_empty(), "{method} names no field: {status:?}");
    for (field, description) in violations {
        assert!(description.starts_with("is required"), "{method}: {field}: {description}");
    }
}

/// Given an empty request to every RPC of the contract, the required fields are named.
#[tokio::test]
async fn an_empty_request_is_told_what_it_needs() {
    let hub = Hub::start(Database::Sqlite).await;
    let (token, channel) = (hub.token(), channel(&hub).await);
    for method in methods() {
        let path = format!("{}/{}", method.parent_service().name(), method.name());
        let status = call(channel.clone(), &path, &token, Vec::new()).await;
        if NEED_NOTHING.contains(&method.name()) {
            assert_eq!(status.code(), Code::Ok, "{path}: {status:?}");
        } else {
            all_are_required(&path, &status);
        }
    }
}

/// Given missing fields within a message, or beside a valid name, all of them are named at once.
#[tokio::test]
async fn every_field_that_is_missing_is_named() {
    let hub = Hub::start(Database::Sqlite).await;
    let (token, channel) = (hub.token(), channel(&hub).await);
    let (parent, policy) = (NAMESPACE.to_owned(), format!("{NAMESPACE}/policies/p"));
    let version = format!("{policy}/versions/1");
    let source =
        pb::ImportSource { head: Some(pb::Cursor { revision: 1, ..Default::default() }), ..Default::default() };
    for (method, message, fields) in [
        (
            "AdminService/CreateNamespace",
            pb::CreateNamespaceRequest { namespace: Some(pb::Namespace::default()), ..Default::default() }
                .encode_to_vec(),
            &["namespace_id"][..],
        ),
        (
            "AdminService/CreateRoleBinding",
            pb::CreateRoleBindingRequest { role_binding: Some(pb::RoleBinding::default()), ..Default::default() }
                .encode_to_vec(),
            &["parent", "role_binding.role", "role_binding.member"],
        ),
        (
            "AdminService/ImportNamespace",
            pb::ImportNamespaceRequest { name: parent.clone(), source: Some(source), ..Default::default() }
                .encode_to_vec(),
            &["source.store"],
        ),
        ("PolicyService/CreatePolicy", pb::CreatePolicyRequest::default().encode_to_vec(), &["parent", "policy_id"]),
        (
            "PolicyService/Draft",
            pb::DraftRequest { parent: policy, requires: vec![pb::Requirement::default()], ..Default::default() }
                .encode_to_vec(),
            &["requires[0].policy", "requires[0].version_req"],
        ),
        (
            "PolicyService/ApproveVersion",
            pb::ApproveVersionRequest { name: version, ..Default::default() }.encode_to_vec(),
            &["digest"],
        ),
        (
            "PolicyService/Activate",
            pb::ActivateRequest {
                parent: parent.clone(),
                targets: vec![pb::ActivateTarget::default()],
                reason: "a reason".to_owned(),
                ..Default::default()
            }
            .encode_to_vec(),
            &["targets[0].policy"],
        ),
        (
            "PolicyService/Activate",
            pb::ActivateRequest { parent: parent.clone(), ..Default::default() }.encode_to_vec(),
            &["reason", "targets"],
        ),
        (
            "SyncService/ReportStatus",
            pb::ReportStatusRequest::default().encode_to_vec(),
            &["name", "cursor", "digest", "status"],
        ),
        ("SyncService/CompleteRun", pb::CompleteRunRequest::default().encode_to_vec(), &["name", "outcome"]),
    ] {
        let status = call(channel.clone(), method, &token, message).await;
        all_are_required(method, &status);
        let named: Vec<String> = violations(&status).into_iter().map(|(field, _)| field).collect();
        assert_eq!(named, fields, "{method}: {status:?}");
    }
}
