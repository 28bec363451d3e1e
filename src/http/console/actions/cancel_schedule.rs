//! Cancels a schedule: it ends for good.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the schedules.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::CancelScheduleRequest {
        name: visit.name_below_namespace("schedules", "schedule"),
        reason: visit.fields.get("reason").to_owned(),
        etag: visit.fields.get("etag").to_owned(),
        request_id: visit.request_id(),
        validate_only: false,
    };
    let context = visit.mutation(Rpc::CancelSchedule, &asked).await?;
    visit.service().policies.cancel_schedule(&context, request::cancel_schedule(asked)?).await?;
    Ok(Outcome::ScheduleCancelled.at(&visit.page_below_namespace("schedules")?))
}
