//! Prepares a key: it is public, and signs later.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the keys.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::PrepareSigningKeyRequest {
        algorithm: visit.fields.get("algorithm").to_owned(),
        request_id: visit.request_id(),
    };
    let context = visit.mutation(Rpc::PrepareSigningKey, &asked).await?;
    visit.service().keys.prepare_key(&context, request::prepare_key(asked)).await?;
    Ok(Outcome::KeyPrepared.at("/keys"))
}
