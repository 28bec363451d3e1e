//! Approves the bytes of a version, by the digest that was shown.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the version.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::ApproveVersionRequest {
        name: visit.version_name(),
        request_id: visit.request_id(),
        digest: visit.fields.get("digest").to_owned(),
        reason: visit.fields.get("reason").to_owned(),
    };
    let context = visit.mutation(Rpc::ApproveVersion, &asked).await?;
    visit.service().policies.approve_version(&context, request::approve_version(asked)?).await?;
    Ok(Outcome::Approved.at(&visit.version_page()?))
}
