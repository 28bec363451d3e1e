//! The guardrails that hold in a namespace: its own, which can be changed here, and those of the store.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::guardrail::{Guardrail, GuardrailSet, GuardrailSeverity};
use crate::http::console::form::{ActionForm, FormInput, InputKind};
use crate::http::console::layout::{Layout, Moment, command_line, namespace_path};
use crate::http::console::permitted::may;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// The values of the field `severity`.
const SEVERITIES: &[&str] = &["deny", "warn"];

#[derive(Template)]
#[template(path = "guardrails.html")]
struct GuardrailsPage {
    layout: Layout,
    own: Vec<GuardrailRow>,
    of_store: Vec<GuardrailRow>,
    changed: Option<Moment>,
    add: Option<ActionForm>,
}

struct GuardrailRow {
    id: VisibleText,
    severity: &'static str,
    expression: VisibleText,
    for_each: VisibleText,
    message: VisibleText,
    forms: Vec<ActionForm>,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::GetGuardrailsRequest { name: visit.guardrails_name() };
    let context = visit.read(Rpc::GetGuardrails, &asked).await?;
    let namespace = request::guardrails_name("name", &asked.name)?;
    let found = visit.service().policies.get_guardrails(&namespace).await?;
    let layout = visit.layout("Guardrails").in_namespace(&namespace, "guardrail list");
    let may_change = may(&context.grants, Rpc::UpdateGuardrails);
    let own = |each: &Guardrail| {
        let forms = if may_change { forms_of(&layout, &found.own, each) } else { Vec::new() };
        row(each, forms)
    };
    let of_store = found.of_store.iter().flat_map(|set| &set.guardrails);
    let page = GuardrailsPage {
        own: found.own.guardrails.iter().map(own).collect(),
        of_store: of_store.map(|each| row(each, Vec::new())).collect(),
        changed: (found.own.edits > 0).then(|| Moment::new(found.own.update_time, visit.now)),
        add: may_change.then(|| set_form(&layout, &found.own, None, false)),
        layout,
    };
    Rendered::page(&page)
}

fn row(guardrail: &Guardrail, forms: Vec<ActionForm>) -> GuardrailRow {
    GuardrailRow {
        id: VisibleText::line(&guardrail.id),
        severity: severity_word(guardrail.severity),
        expression: VisibleText::line(&guardrail.expression),
        for_each: VisibleText::line(&guardrail.for_each),
        message: VisibleText::line(&guardrail.message),
        forms,
    }
}

/// Returns the word for a severity.
pub fn severity_word(severity: GuardrailSeverity) -> &'static str {
    match severity {
        GuardrailSeverity::Deny => "deny",
        GuardrailSeverity::Warn => "warn",
    }
}

fn forms_of(layout: &Layout, set: &GuardrailSet, guardrail: &Guardrail) -> Vec<ActionForm> {
    let command = command_line(&set.namespace, &format!("guardrail delete {}", guardrail.id));
    let path = format!("{}/guardrails/delete", namespace_path(&set.namespace));
    let delete = ActionForm::new(layout, path, format!("Delete {}", guardrail.id))
        .that_changes("From then on no content is checked against it.")
        .hiding("id", guardrail.id.clone())
        .hiding("etag", set.etag().to_string())
        .with_reason(false)
        .like(command);
    vec![set_form(layout, set, Some(guardrail), true), delete]
}

/// Returns the form that adds a guardrail, or changes one that is in the set. It is filled in with what is given.
pub fn set_form(layout: &Layout, set: &GuardrailSet, given: Option<&Guardrail>, is_in_set: bool) -> ActionForm {
    let path = format!("{}/guardrails/set", namespace_path(&set.namespace));
    let of = |value: fn(&Guardrail) -> &str| given.map(value).unwrap_or_default().to_owned();
    let input = |kind, name, label, value, is_required| FormInput { name, kind, label, value, is_required };
    let button = given.filter(|_| is_in_set).map_or_else(|| "Add".to_owned(), |given| format!("Change {}", given.id));
    let form = ActionForm::new(layout, path, button)
        .with_trial("Try, and change nothing")
        .that_changes(
            "Drafts are checked against it when they are staged, and published versions when they are activated.",
        )
        .hiding("etag", set.etag().to_string());
    let form = if is_in_set {
        form.hiding("id", of(|each| &each.id))
    } else {
        form.with(input(InputKind::Line, "id", "Id", of(|each| &each.id), true))
    };
    let severity = given.map_or("deny", |given| severity_word(given.severity)).to_owned();
    let id = given.map_or("ID", |given| &given.id);
    form.with(input(
        InputKind::Lines,
        "expression",
        "CEL expression, true when it holds",
        of(|each| &each.expression),
        true,
    ))
    .with(input(InputKind::Choice(SEVERITIES), "severity", "When it does not hold", severity, false))
    .with(input(InputKind::Line, "for_each", "For each value of this JSON Pointer", of(|each| &each.for_each), false))
    .with(input(InputKind::Line, "message", "Message for the author", of(|each| &each.message), false))
    .with_reason(false)
    .like(command_line(&set.namespace, &format!("guardrail set {id} --expression …")))
}
