//! What the changes of guardrails share: the set is read, changed and written as a whole.

use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::error::REQUIRED;
use crate::domain::guardrail::{Guardrail, GuardrailSeverity};
use crate::domain::{Error, Result};
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Changes the guardrails of the namespace in the path. The etag of the form decides whether the set is still the one that was shown; so a
/// form that is sent twice makes the same set twice, and the second answer is that of the first.
pub async fn change_guardrails(
    visit: &Visit,
    done: Outcome,
    change: impl FnOnce(&mut Vec<pb::Guardrail>),
) -> Result<Done> {
    let name = visit.guardrails_name();
    let mut asked = pb::UpdateGuardrailsRequest {
        guardrails: Some(pb::Guardrails { name: name.clone(), ..pb::Guardrails::default() }),
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
        validate_only: false,
    };
    let context = visit.mutation(Rpc::UpdateGuardrails, &asked).await?;
    let etag = visit.fields.get("etag");
    if etag.is_empty() {
        return Err(Error::invalid("etag", REQUIRED));
    }
    let namespace = request::guardrails_name("name", &name)?;
    visit.read(Rpc::GetGuardrails, &pb::GetGuardrailsRequest { name: name.clone() }).await?;
    let found = visit.service().policies.get_guardrails(&namespace).await?;
    let mut guardrails: Vec<pb::Guardrail> = found.own.guardrails.into_iter().map(written).collect();
    change(&mut guardrails);
    let set = pb::Guardrails { name, guardrails, etag: etag.to_owned(), update_time: None };
    asked.guardrails = Some(set);
    visit.service().policies.update_guardrails(&context, request::update_guardrails(asked)?).await?;
    Ok(done.at(&visit.page_below_namespace("guardrails")?))
}

fn written(guardrail: Guardrail) -> pb::Guardrail {
    let severity = match guardrail.severity {
        GuardrailSeverity::Deny => pb::GuardrailSeverity::Deny,
        GuardrailSeverity::Warn => pb::GuardrailSeverity::Warn,
    };
    let Guardrail { id, expression, message, for_each, severity: _ } = guardrail;
    pb::Guardrail { id, expression, severity: severity.into(), message, for_each }
}
