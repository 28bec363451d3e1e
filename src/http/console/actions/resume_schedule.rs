//! Resumes a suspended schedule: what it missed last runs at once.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the schedules.
pub async fn act(visit: &Visit) -> Result<Done> {
    let asked = pb::ResumeScheduleRequest {
        name: visit.name_below_namespace("schedules", "schedule"),
        reason: visit.fields.get("reason").to_owned(),
        etag: visit.fields.get("etag").to_owned(),
        request_id: visit.request_id(),
        validate_only: false,
    };
    let context = visit.mutation(Rpc::ResumeSchedule, &asked).await?;
    visit.service().policies.resume_schedule(&context, request::resume_schedule(asked)?).await?;
    Ok(Outcome::ScheduleResumed.at(&visit.page_below_namespace("schedules")?))
}
