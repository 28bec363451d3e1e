//! Callers with tokens of the local issuer, and their role bindings.

use policyhub::client::{Client, ClientError, pb};

use super::Hub;
use super::hub::binary;

/// Returns a token for a subject of the local issuer.
pub fn issue(hub: &Hub, arguments: &[&str]) -> String {
    let mut command = binary();
    command.args(["token", "issue", "--data-dir"]).arg(hub.data_dir()).args(arguments);
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Returns a caller without a role.
pub async fn caller(hub: &Hub, subject: &str) -> Client {
    hub.client_with(Some(issue(hub, &["--subject", subject, "--ttl", "1h"]))).await
}

/// Grants a role to a subject of the local issuer and returns the binding. `place` is `namespaces/…`, or `namespaces/-` for all.
pub async fn grant(admin: &Client, subject: &str, role: pb::Role, place: &str) -> pb::RoleBinding {
    let granted = try_grant(admin, &format!("local:{subject}"), role, place).await;
    granted.expect("a grant").role_binding.expect("a binding")
}

/// Grants a role like [`grant`], and returns the error when it is refused.
pub async fn try_grant(
    admin: &Client,
    member: &str,
    role: pb::Role,
    place: &str,
) -> Result<pb::CreateRoleBindingResponse, ClientError> {
    let role_binding = pb::RoleBinding { role: role.into(), member: member.to_owned(), ..Default::default() };
    let request = pb::CreateRoleBindingRequest {
        parent: place.to_owned(),
        role_binding: Some(role_binding),
        ..Default::default()
    };
    admin.create_role_binding(request).await
}

/// Deletes a role binding.
pub async fn take_away(admin: &Client, binding: &str) -> Result<pb::DeleteRoleBindingResponse, ClientError> {
    admin.delete_role_binding(pb::DeleteRoleBindingRequest { name: binding.to_owned(), ..Default::default() }).await
}

/// Creates a namespace.
pub async fn namespace(admin: &Client, id: &str) {
    let request = pb::CreateNamespaceRequest { namespace_id: id.to_owned(), ..Default::default() };
    admin.create_namespace(request).await.expect("a namespace");
}
