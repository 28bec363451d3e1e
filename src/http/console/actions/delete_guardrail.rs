//! Deletes a guardrail of a namespace, unless the set changed since the form was shown.

use super::guardrail_change::change_guardrails;
use crate::domain::Result;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the guardrails.
pub async fn act(visit: &Visit) -> Result<Done> {
    change_guardrails(visit, false, |set| set.retain(|each| each.id != visit.fields.get("id"))).await?;
    Ok(Outcome::GuardrailDeleted.at(&visit.page_below_namespace("guardrails")?))
}
