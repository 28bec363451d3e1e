//! Takes a role away.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the roles.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::DeleteRoleBindingRequest {
        name: visit.name_below_namespace("roleBindings", "binding"),
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
    };
    let context = visit.mutation(Rpc::DeleteRoleBinding, &asked).await?;
    visit.service().access.delete_role_binding(&context, request::delete_role_binding(asked)?).await?;
    Ok(Outcome::RoleRevoked.at(&visit.page_below_namespace("roles")?))
}
