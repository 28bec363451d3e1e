//! Revokes a key: what it signed is not trusted any more, unless it is signed again.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the keys.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::RevokeSigningKeyRequest {
        name: visit.key_name(),
        reason: visit.fields.get("reason").to_owned(),
        resign: visit.fields.get("resign") == "yes",
        request_id: visit.request_id(),
    };
    let context = visit.mutation(Rpc::RevokeSigningKey, &asked).await?;
    visit.service().keys.revoke_key(&context, request::revoke_key(asked)?).await?;
    Ok(Outcome::KeyRevoked.at("/keys"))
}
