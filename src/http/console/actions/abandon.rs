//! Abandons a draft or a staged version: it ends, and its label is free again.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the version.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::AbandonDraftRequest {
        name: visit.version_name(),
        etag: visit.fields.get("etag").to_owned(),
        request_id: visit.request_id(),
        ..pb::AbandonDraftRequest::default()
    };
    let context = visit.mutation(Rpc::AbandonDraft, &asked).await?;
    visit.service().policies.abandon_draft(&context, request::abandon_draft(asked)?).await?;
    Ok(Outcome::Abandoned.at(&visit.version_page()?))
}
