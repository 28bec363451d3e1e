//! Stages a version: its checks run, and it is locked.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the version.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::StageRequest {
        name: visit.version_name(),
        etag: visit.fields.get("etag").to_owned(),
        request_id: visit.request_id(),
        ..pb::StageRequest::default()
    };
    let context = visit.mutation(Rpc::Stage, &asked).await?;
    visit.service().policies.stage(&context, request::stage(&asked)?).await?;
    Ok(Outcome::Staged.at(&visit.version_page()?))
}
