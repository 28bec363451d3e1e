//! Deactivates a policy, unless its pointer moved since the form was shown.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to what the runtimes make of it.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::DeactivateRequest {
        name: visit.policy_name(),
        request_id: visit.request_id(),
        expected_active: Some(visit.fields.number("expected_active")?),
        reason: visit.fields.get("reason").to_owned(),
        ..pb::DeactivateRequest::default()
    };
    let context = visit.mutation(Rpc::Deactivate, &asked).await?;
    let done = visit.service().policies.deactivate(&context, request::deactivate(asked)?).await?;
    Ok(Done::At(visit.activation_page(done.cursor)?))
}
