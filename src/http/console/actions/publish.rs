//! Publishes a version: it is signed, and can be activated.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the version.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::PublishRequest {
        name: visit.version_name(),
        etag: visit.fields.get("etag").to_owned(),
        request_id: visit.request_id(),
        ..pb::PublishRequest::default()
    };
    let context = visit.mutation(Rpc::Publish, &asked).await?;
    visit.service().policies.publish(&context, request::publish(asked)?).await?;
    Ok(Outcome::Published.at(&visit.version_page()?))
}
