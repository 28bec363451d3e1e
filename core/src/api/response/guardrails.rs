//! Guardrails.

use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::binding::scope;
use crate::domain::guardrail::{Guardrail, GuardrailSet, GuardrailSeverity};
use crate::domain::outcome::{FoundGuardrails, GuardrailViolation, GuardrailsChanged};

fn severity(from: GuardrailSeverity) -> pb::GuardrailSeverity {
    match from {
        GuardrailSeverity::Deny => pb::GuardrailSeverity::Deny,
        GuardrailSeverity::Warn => pb::GuardrailSeverity::Warn,
    }
}

impl From<Guardrail> for pb::Guardrail {
    fn from(from: Guardrail) -> Self {
        let Guardrail { id, expression, severity: what, message, for_each } = from;
        Self { id, expression, severity: severity(what).into(), message, for_each }
    }
}

fn guardrails(from: GuardrailSet) -> pb::Guardrails {
    pb::Guardrails {
        name: format!("{}/guardrails", scope(&from.namespace)),
        etag: from.etag().to_string(),
        update_time: (from.edits > 0).then(|| timestamp(from.update_time)),
        guardrails: from.guardrails.into_iter().map(Into::into).collect(),
    }
}

fn violation(from: GuardrailViolation) -> pb::GuardrailViolation {
    let GuardrailViolation { version, guardrail, severity: what, message, pointer } = from;
    pb::GuardrailViolation { version, guardrail, severity: severity(what).into(), message, pointer }
}

impl From<FoundGuardrails> for pb::GetGuardrailsResponse {
    fn from(from: FoundGuardrails) -> Self {
        Self { guardrails: Some(guardrails(from.own)), store_guardrails: from.of_store.map(guardrails) }
    }
}

impl From<GuardrailsChanged> for pb::UpdateGuardrailsResponse {
    fn from(done: GuardrailsChanged) -> Self {
        Self {
            guardrails: Some(guardrails(done.guardrails)),
            cursor: done.cursor.map(Into::into),
            violations: done.violations.into_iter().map(violation).collect(),
            versions_tried: i32::try_from(done.versions_tried).unwrap_or(i32::MAX),
            versions_not_tried: i32::try_from(done.versions_not_tried).unwrap_or(i32::MAX),
        }
    }
}
