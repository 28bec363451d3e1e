//! What the changes of guardrails share: the set is read, changed and written as a whole.

use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::error::REQUIRED;
use crate::domain::guardrail::{Guardrail, GuardrailSet, GuardrailSeverity};
use crate::domain::outcome::RuleTrial;
use crate::domain::{Error, Result};
use crate::http::console::visit::Visit;

/// The guardrails after a change.
pub struct ChangedGuardrails {
    /// The set that the form was shown with, when nothing was changed; else the new one.
    pub set: GuardrailSet,
    /// What published versions say to the new set.
    pub trial: RuleTrial,
}

/// Changes the guardrails of the namespace in the path, or tries the change. The etag of the form decides whether the set is still the one
/// that was shown; so a form that is sent twice makes the same set twice, and the second answer is that of the first.
pub async fn change_guardrails(
    visit: &Visit,
    is_trial: bool,
    change: impl FnOnce(&mut Vec<pb::Guardrail>),
) -> Result<ChangedGuardrails> {
    let name = visit.guardrails_name();
    let mut asked = pb::UpdateGuardrailsRequest {
        guardrails: Some(pb::Guardrails { name: name.clone(), ..pb::Guardrails::default() }),
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
        validate_only: is_trial,
    };
    let context = visit.mutation(Rpc::UpdateGuardrails, &asked).await?;
    let etag = visit.fields.get("etag");
    if etag.is_empty() {
        return Err(Error::invalid("etag", REQUIRED));
    }
    let namespace = request::guardrails_name("name", &name)?;
    visit.read(Rpc::GetGuardrails, &pb::GetGuardrailsRequest { name: name.clone() }).await?;
    let found = visit.service().policies.get_guardrails(&namespace).await?.own;
    let mut guardrails: Vec<pb::Guardrail> = found.guardrails.iter().cloned().map(written).collect();
    change(&mut guardrails);
    let set = pb::Guardrails { name, guardrails, etag: etag.to_owned(), update_time: None };
    asked.guardrails = Some(set);
    let changed = visit.service().policies.update_guardrails(&context, request::update_guardrails(asked)?).await?;
    Ok(ChangedGuardrails { set: if is_trial { found } else { changed.guardrails }, trial: changed.trial })
}

fn written(guardrail: Guardrail) -> pb::Guardrail {
    let severity = match guardrail.severity {
        GuardrailSeverity::Deny => pb::GuardrailSeverity::Deny,
        GuardrailSeverity::Warn => pb::GuardrailSeverity::Warn,
    };
    let Guardrail { id, expression, message, for_each, severity: _ } = guardrail;
    pb::Guardrail { id, expression, severity: severity.into(), message, for_each }
}
