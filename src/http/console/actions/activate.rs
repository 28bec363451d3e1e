//! Activates a version, unless the pointer of its policy moved since the form was shown.

use crate::api::pb::activate_target::To;
use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to what the runtimes make of it.
pub async fn act(visit: &Visit) -> Result<Done> {
    let target = pb::ActivateTarget {
        policy: visit.argument("policy").to_owned(),
        to: Some(To::Version(visit.fields.number("version")?)),
        expected_active: Some(visit.fields.number("expected_active")?),
    };
    let asked = pb::ActivateRequest {
        parent: visit.namespace_name(),
        targets: vec![target],
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
        ..pb::ActivateRequest::default()
    };
    let context = visit.mutation(Rpc::Activate, &asked).await?;
    let done = visit.service().policies.activate(&context, request::activate(asked)?).await?;
    Ok(Done::At(visit.activation_page(done.cursor)?))
}
