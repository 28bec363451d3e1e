//! Rejects the bytes of a version, by the digest that was shown.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the version.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::RejectVersionRequest {
        name: visit.version_name(),
        request_id: visit.request_id(),
        digest: visit.fields.get("digest").to_owned(),
        reason: visit.fields.get("reason").to_owned(),
    };
    let context = visit.mutation(Rpc::RejectVersion, &asked).await?;
    visit.service().policies.reject_version(&context, request::reject_version(asked)?).await?;
    Ok(Outcome::Rejected.at(&visit.version_page()?))
}
