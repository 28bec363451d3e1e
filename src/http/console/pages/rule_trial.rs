//! What the trial of new guardrails found: which published versions they would refuse.

use askama::Template;

use crate::domain::Result;
use crate::domain::outcome::{RuleTrial, RuleViolation};
use crate::http::console::form::ActionForm;
use crate::http::console::layout::Layout;
use crate::http::console::pages::guardrails::severity_word;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;

#[derive(Template)]
#[template(path = "rule_trial.html")]
struct RuleTrialPage {
    layout: Layout,
    is_set: bool,
    tried: usize,
    not_tried: usize,
    active: Vec<ViolationRow>,
    published: Vec<ViolationRow>,
    not_listed: usize,
    form: Option<ActionForm>,
}

struct ViolationRow {
    severity: &'static str,
    href: String,
    version: VisibleText,
    guardrail: VisibleText,
    pointer: VisibleText,
    message: VisibleText,
}

/// Renders the page of a trial, of guardrails that are set or, with the form that sets them, are not.
///
/// # Errors
/// `INTERNAL`.
pub fn rule_trial_page(layout: Layout, trial: &RuleTrial, form: Option<ActionForm>) -> Result<Rendered> {
    let rows = |is_active: bool| {
        let of_state = trial.violations.iter().filter(|each| each.is_active == is_active);
        of_state.map(violation_row).collect()
    };
    Rendered::page(&RuleTrialPage {
        layout,
        is_set: form.is_none(),
        tried: trial.versions_tried,
        not_tried: trial.versions_not_tried,
        active: rows(true),
        published: rows(false),
        not_listed: trial.violations_not_listed,
        form,
    })
}

fn violation_row(violation: &RuleViolation) -> ViolationRow {
    let version = violation.version.rsplit("/policies/").next().unwrap_or_default().replacen("/versions/", "@", 1);
    let label = if violation.label.is_empty() { String::new() } else { format!(" ({})", violation.label) };
    ViolationRow {
        severity: severity_word(violation.severity),
        href: format!("/{}", violation.version),
        version: VisibleText::line(&format!("{version}{label}")),
        guardrail: VisibleText::line(&violation.guardrail),
        pointer: VisibleText::line(&violation.pointer),
        message: VisibleText::line(&violation.message),
    }
}
