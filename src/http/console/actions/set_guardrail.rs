//! Adds a guardrail to a namespace, or changes one, or says what published versions would say to that; unless the set changed since the form was shown.

use super::guardrail_change::{ChangedGuardrails, change_guardrails};
use crate::api::pb;
use crate::domain::Result;
use crate::domain::guardrail::{Guardrail, GuardrailSeverity};
use crate::http::console::form::TRIAL_FIELD;
use crate::http::console::outcome::Outcome;
use crate::http::console::pages::guardrails::set_form;
use crate::http::console::pages::rule_trial::rule_trial_page;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the guardrails.
pub async fn act(visit: &Visit) -> Result<Done> {
    let (severity, shown_severity) = match visit.fields.get("severity") {
        "deny" => (pb::GuardrailSeverity::Deny, GuardrailSeverity::Deny),
        "warn" => (pb::GuardrailSeverity::Warn, GuardrailSeverity::Warn),
        // It is refused.
        _ => (pb::GuardrailSeverity::Unspecified, GuardrailSeverity::Deny),
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
    let (is_trial, shown) = (visit.fields.get(TRIAL_FIELD) == "yes", given.clone());
    let shown = Guardrail {
        id: shown.id,
        expression: shown.expression,
        severity: shown_severity,
        message: shown.message,
        for_each: shown.for_each,
    };
    let mut is_in_set = false;
    let changed = change_guardrails(visit, is_trial, |set| match set.iter_mut().find(|each| each.id == given.id) {
        Some(known) => (is_in_set, *known) = (true, given),
        None => set.push(given),
    });
    let ChangedGuardrails { set, trial } = changed.await?;
    if !is_trial && trial.violations.is_empty() && trial.versions_not_tried == 0 {
        return Ok(Outcome::GuardrailSet.at(&visit.page_below_namespace("guardrails")?));
    }
    // What was found is stored nowhere, so it is shown now. A reload sends the form again, which has no other effect.
    let title = if is_trial { format!("Trial of {}", shown.id) } else { format!("{} was set", shown.id) };
    let flag = if is_trial { " --validate-only" } else { "" };
    let layout = visit
        .layout(title)
        .in_namespace(&set.namespace, &format!("guardrail set {} --expression …{flag}", shown.id))
        .below("guardrails", visit.page_below_namespace("guardrails")?);
    let form = if is_trial { Some(set_form(&layout, &set, Some(&shown), is_in_set)) } else { None };
    rule_trial_page(layout, &trial, form).map(Done::Page)
}
