//! Grants a role in a namespace.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the roles.
pub async fn act(visit: &Visit) -> Result<Done> {
    let role = match visit.fields.get("role") {
        "viewer" => pb::Role::Viewer,
        "subscriber" => pb::Role::Subscriber,
        "author" => pb::Role::Author,
        "approver" => pb::Role::Approver,
        "publisher" => pb::Role::Publisher,
        "activator" => pb::Role::Activator,
        "guardrail-admin" => pb::Role::GuardrailAdmin,
        "admin" => pb::Role::Admin,
        _ => pb::Role::Unspecified,
    };
    let member = visit.fields.get("member").trim().to_owned();
    let asked = pb::CreateRoleBindingRequest {
        parent: visit.namespace_name(),
        role_binding: Some(pb::RoleBinding { role: role.into(), member, ..pb::RoleBinding::default() }),
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
    };
    let context = visit.mutation(Rpc::CreateRoleBinding, &asked).await?;
    visit.service().access.create_role_binding(&context, request::create_role_binding(asked)?).await?;
    Ok(Outcome::RoleGranted.at(&visit.page_below_namespace("roles")?))
}
