//! Guardrails, and what new rules would do to published versions.

use super::policy;
use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::binding::scope;
use crate::domain::guardrail::{Guardrail, GuardrailSet, GuardrailSeverity};
use crate::domain::outcome::{FoundGuardrails, GuardrailsChanged, PolicyChanged, RuleTrial, RuleViolation};

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

fn violation(from: RuleViolation) -> pb::GuardrailViolation {
    let RuleViolation { version, label, is_active, check, guardrail, severity: what, message, pointer } = from;
    let severity = severity(what).into();
    pb::GuardrailViolation { version, guardrail, severity, message, pointer, label, active: is_active, check }
}

fn count(of: usize) -> i32 {
    i32::try_from(of).unwrap_or(i32::MAX)
}

impl From<FoundGuardrails> for pb::GetGuardrailsResponse {
    fn from(from: FoundGuardrails) -> Self {
        Self { guardrails: Some(guardrails(from.own)), store_guardrails: from.of_store.map(guardrails) }
    }
}

impl From<GuardrailsChanged> for pb::UpdateGuardrailsResponse {
    fn from(done: GuardrailsChanged) -> Self {
        let RuleTrial { violations, violations_not_listed, versions_tried, versions_not_tried } = done.trial;
        Self {
            guardrails: Some(guardrails(done.guardrails)),
            cursor: done.cursor.map(Into::into),
            violations: violations.into_iter().map(violation).collect(),
            versions_tried: count(versions_tried),
            versions_not_tried: count(versions_not_tried),
            violations_not_listed: count(violations_not_listed),
        }
    }
}

impl From<PolicyChanged> for pb::UpdatePolicyResponse {
    fn from(done: PolicyChanged) -> Self {
        let RuleTrial { violations, violations_not_listed, versions_tried, versions_not_tried } = done.trial;
        Self {
            policy: Some(policy(done.policy)),
            cursor: done.cursor.map(Into::into),
            violations: violations.into_iter().map(violation).collect(),
            versions_tried: count(versions_tried),
            versions_not_tried: count(versions_not_tried),
            violations_not_listed: count(violations_not_listed),
        }
    }
}
