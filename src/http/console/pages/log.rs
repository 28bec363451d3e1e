//! The log of a namespace, the newest event on top, and what the checks of this server found in it.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::audit::Finding;
use crate::domain::changed_guardrails::changed_guardrails;
use crate::domain::event::{Event, EventKind, Payload};
use crate::domain::filter::{Conditions, quoted};
use crate::domain::name::{PolicyId, PolicyName};
use crate::http::console::layout::{Layout, Moment, menu_page_path, policy_path, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::LastLogCheck;

/// Most findings that are listed.
const FINDINGS_SHOWN_MAX: usize = 20;
/// Versions that are listed of one event, which may have a hundred. More: a page of such events has over 100 KB.
const VERSIONS_SHOWN_MAX: usize = 5;
/// The fields of the filter.
const FILTER_FIELDS: [&str; 4] = ["policy", "actor", "kind", "filter"];

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    layout: Layout,
    policy: VisibleText,
    actor: VisibleText,
    /// The name of the kind that is looked for; empty: any.
    kind: String,
    kinds: &'static [EventKind],
    filter: VisibleText,
    is_filtered: bool,
    verdict: Option<LogVerdictPart>,
    rows: Vec<EventRow>,
    next: String,
}

/// What the last check of this server found.
struct LogVerdictPart {
    revision: i64,
    count: u64,
    findings: Vec<VisibleText>,
}

struct EventRow {
    revision: i64,
    kind: &'static str,
    at: Moment,
    actor: VisibleText,
    reason: VisibleText,
    subjects: Vec<EventSubject>,
    /// How many more there are. The page of an activation has them all.
    subjects_left: usize,
    hash: String,
    is_activation: bool,
}

/// What an event is about.
struct EventSubject {
    text: VisibleText,
    href: String,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListEventsRequest {
        parent: visit.namespace_name(),
        page_token: visit.fields.get("page_token").to_owned(),
        filter: filter_of(visit),
        order_by: "revision desc".to_owned(),
        ..pb::ListEventsRequest::default()
    };
    visit.read(Rpc::ListEvents, &asked).await?;
    let list = request::list_events(&asked)?;
    let found = visit.service().archive.list_events(&list.namespace, &list.page, &list.filter).await?;
    visit.read(Rpc::VerifyLog, &pb::VerifyLogRequest { parent: visit.namespace_name(), after: None }).await?;
    let verdict = visit.service().archive.last_log_check(&list.namespace);
    let reached = found.reached.filter(|_| !found.is_last);
    let shown = |field: &str| VisibleText::line(visit.fields.get(field));
    let page = LogPage {
        layout: visit.layout("Log").in_namespace(&list.namespace, "events"),
        policy: shown("policy"),
        actor: shown("actor"),
        kind: visit.fields.get("kind").to_owned(),
        kinds: EventKind::ALL,
        filter: shown("filter"),
        is_filtered: !asked.filter.is_empty(),
        verdict: verdict.as_ref().map(verdict_part),
        rows: found.items.iter().map(|each| event_row(visit, each)).collect(),
        next: reached
            .map(|key| visit.next_page(&list.list.token(&key.to_string()), &FILTER_FIELDS))
            .unwrap_or_default(),
    };
    Rendered::page(&page)
}

/// Returns the filter of the RPC that the fields of the form make together.
fn filter_of(visit: &Visit) -> String {
    let mut conditions = Conditions::default();
    let given = |field: &str| Some(visit.fields.get(field).trim().to_owned()).filter(|text| !text.is_empty());
    if let Some(policy) = given("policy") {
        conditions.add_text("policy", "=", &policy);
    }
    if let Some(actor) = given("actor") {
        conditions.add_text("actor", ":", &actor);
    }
    if let Some(kind) = given("kind") {
        // A name of an enum is written without quotes; one that is none is refused by the filter.
        conditions.add(
            "kind",
            "=",
            if EventKind::ALL.iter().any(|each| each.as_str() == kind) { kind } else { quoted(&kind) },
        );
    }
    if let Some(filter) = given("filter") {
        conditions.add_filter(&filter);
    }
    conditions.to_string()
}

fn verdict_part(last: &LastLogCheck) -> LogVerdictPart {
    let findings = last.named.iter().take(FINDINGS_SHOWN_MAX);
    let shown = |finding: &Finding| VisibleText::line(&format!("{} {}", finding.row, finding.message));
    LogVerdictPart { revision: last.end.revision, count: last.count, findings: findings.map(shown).collect() }
}

fn event_row(visit: &Visit, (event, payload): &(Event, Payload)) -> EventRow {
    let name = |policy: &PolicyId| PolicyName { namespace: event.namespace.clone(), policy: policy.clone() };
    let of_version = |policy, number: i64| EventSubject {
        text: VisibleText::line(&format!("{policy}@{number}")),
        href: version_path(&name(policy), number),
    };
    let moved = payload.changes.iter().filter(|change| change.version > 0);
    let mut versions: Vec<(&PolicyId, i64)> = moved.map(|change| (&change.policy, change.version)).collect();
    if versions.is_empty() {
        versions.extend(payload.versions.iter().map(|each| (&each.policy, each.version)));
    }
    let shown = versions.iter().take(VERSIONS_SHOWN_MAX);
    let mut subjects: Vec<EventSubject> = shown.map(|(policy, number)| of_version(policy, *number)).collect();
    if let (true, Some(policy)) = (subjects.is_empty(), &payload.policy) {
        subjects.push(EventSubject { text: VisibleText::line(policy.as_str()), href: policy_path(&name(policy)) });
    }
    if let Some(access) = &payload.access {
        let binding = &access.binding;
        let text = VisibleText::line(&format!("{} for {}", binding.role.as_str(), binding.member));
        subjects.push(EventSubject { text, href: menu_page_path(&event.namespace, "roles") });
    }
    if payload.kind == EventKind::UpdateGuardrails {
        subjects.push(EventSubject {
            text: VisibleText::line(&changed_guardrails(payload)),
            href: menu_page_path(&event.namespace, "guardrails"),
        });
    }
    if let Some(schedule) = &payload.schedule {
        let text = VisibleText::line(&format!("schedule {}", schedule.id));
        subjects.push(EventSubject { text, href: menu_page_path(&event.namespace, "schedules") });
    }
    EventRow {
        revision: payload.revision,
        kind: payload.kind.as_str(),
        at: Moment::new(payload.time, visit.now),
        actor: VisibleText::line(&payload.actor),
        reason: VisibleText::line(&payload.reason),
        subjects,
        subjects_left: versions.len().saturating_sub(VERSIONS_SHOWN_MAX),
        hash: event.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        is_activation: !payload.changes.is_empty(),
    }
}
