//! Activates a prepared key: it signs from now on, and the one before is retired.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the keys.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::ActivateSigningKeyRequest {
        name: visit.key_name(),
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
    };
    let context = visit.mutation(Rpc::ActivateSigningKey, &asked).await?;
    visit.service().keys.activate_key(&context, request::activate_key(asked)?).await?;
    Ok(Outcome::KeyActivated.at("/keys"))
}
