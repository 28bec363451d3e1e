//! Adds a guardrail to a namespace, or changes one, unless the set changed since the form was shown.

use super::guardrail_change::change_guardrails;
use crate::api::pb;
use crate::domain::Result;
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the guardrails.
pub async fn act(visit: &Visit) -> Result<Done> {
    let severity = match visit.fields.get("severity") {
        "deny" => pb::GuardrailSeverity::Deny,
        "warn" => pb::GuardrailSeverity::Warn,
        _ => pb::GuardrailSeverity::Unspecified,
    };
    let field = |name| visit.fields.get(name).to_owned();
    let given = pb::Guardrail {
        id: field("id"),
        // A browser ends the lines of a text area with CRLF.
        expression: field("expression").replace("\r\n", "\n"),
        severity: severity.into(),
        message: field("message"),
        for_each: field("for_each"),
    };
    change_guardrails(visit, Outcome::GuardrailSet, |set| match set.iter_mut().find(|each| each.id == given.id) {
        Some(known) => *known = given,
        None => set.push(given),
    })
    .await
}
