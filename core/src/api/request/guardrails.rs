//! Requests about guardrails.

use super::collect_errors::{collect_all_errors, collect_errors};
use super::fields::etag;
use crate::api::pb;
use crate::domain::binding::parse_scope;
use crate::domain::command::UpdateGuardrails;
use crate::domain::error::REQUIRED;
use crate::domain::guardrail::{Guardrail, GuardrailSeverity, check_guardrails};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// Ends the name of a set.
const COLLECTION: &str = "/guardrails";

/// Reads the name of a set: `namespaces/{namespace}/guardrails`, or `namespaces/-/guardrails` for those of the store, whose namespace
/// is `system`.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn guardrails_name(field: &str, name: &str) -> Result<NamespaceId> {
    let rule = "must be namespaces/{namespace}/guardrails, or namespaces/-/guardrails for those of the store";
    let scope = name.strip_suffix(COLLECTION).ok_or_else(|| Error::invalid_text(field, name, rule))?;
    parse_scope(field, scope).map_err(|_| Error::invalid_text(field, name, rule))
}

/// Reads an UpdateGuardrails request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn update_guardrails(request: pb::UpdateGuardrailsRequest) -> Result<UpdateGuardrails> {
    let given = request.guardrails.ok_or_else(|| Error::invalid("guardrails", "is required"))?;
    let namespace = guardrails_name("guardrails.name", &given.name);
    let etag = etag(&given.etag);
    let guardrails = collect_all_errors(given.guardrails.into_iter().enumerate().map(guardrail));
    let (namespace, (etag, guardrails)) = collect_errors(namespace, collect_errors(etag, guardrails))?;
    check_guardrails("guardrails.guardrails", &guardrails)?;
    Ok(UpdateGuardrails { namespace, guardrails, reason: request.reason, etag })
}

fn guardrail((index, from): (usize, pb::Guardrail)) -> Result<Guardrail> {
    let severity = match pb::GuardrailSeverity::try_from(from.severity) {
        Ok(pb::GuardrailSeverity::Deny) => GuardrailSeverity::Deny,
        Ok(pb::GuardrailSeverity::Warn) => GuardrailSeverity::Warn,
        Ok(pb::GuardrailSeverity::Unspecified) => {
            return Err(Error::invalid(format!("guardrails.guardrails[{index}].severity"), REQUIRED));
        }
        Err(_) => {
            return Err(Error::invalid(format!("guardrails.guardrails[{index}].severity"), "must be DENY or WARN"));
        }
    };
    let pb::Guardrail { id, expression, message, for_each, .. } = from;
    Ok(Guardrail { id, expression, severity, message, for_each })
}
