//! The log of a namespace, the newest event on top.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::event::{Event, Payload};
use crate::domain::name::PolicyName;
use crate::http::console::layout::{Layout, Moment, policy_path, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    layout: Layout,
    filter: VisibleText,
    rows: Vec<EventRow>,
    next: String,
}

struct EventRow {
    revision: i64,
    kind: &'static str,
    at: Moment,
    actor: VisibleText,
    reason: VisibleText,
    subjects: Vec<EventSubject>,
    hash: String,
    is_activation: bool,
}

/// What an event is about.
struct EventSubject {
    text: String,
    href: String,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListEventsRequest {
        parent: visit.namespace_name(),
        page_token: visit.fields.get("page_token").to_owned(),
        filter: visit.fields.get("filter").to_owned(),
        order_by: "revision desc".to_owned(),
        ..pb::ListEventsRequest::default()
    };
    visit.read(Rpc::ListEvents, &asked).await?;
    let list = request::list_events(&asked)?;
    let found = visit.service().archive.list_events(&list.namespace, &list.page, &list.filter).await?;
    let reached = found.reached.filter(|_| !found.is_last);
    let page = LogPage {
        layout: visit.layout("Log").in_namespace(&list.namespace, "events"),
        filter: VisibleText::line(&asked.filter),
        rows: found.items.iter().map(|each| event_row(visit, each)).collect(),
        next: reached.map(|key| visit.next_page(&list.list.token(&key.to_string()), "filter")).unwrap_or_default(),
    };
    Rendered::page(&page)
}

fn event_row(visit: &Visit, (event, payload): &(Event, Payload)) -> EventRow {
    let name = |policy: &crate::domain::name::PolicyId| PolicyName {
        namespace: payload.namespace.clone(),
        policy: policy.clone(),
    };
    let of_version = |policy, number: i64| EventSubject {
        text: format!("{policy}@{number}"),
        href: version_path(&name(policy), number),
    };
    let moved = payload.changes.iter().filter(|change| change.version > 0);
    let mut subjects: Vec<EventSubject> = moved.map(|change| of_version(&change.policy, change.version)).collect();
    if subjects.is_empty() {
        subjects.extend(payload.versions.iter().map(|each| of_version(&each.policy, each.version)));
    }
    if let (true, Some(policy)) = (subjects.is_empty(), &payload.policy) {
        subjects.push(EventSubject { text: policy.to_string(), href: policy_path(&name(policy)) });
    }
    EventRow {
        revision: payload.revision,
        kind: payload.kind.as_str(),
        at: Moment::new(payload.time, visit.now),
        actor: VisibleText::line(&payload.actor),
        reason: VisibleText::line(&payload.reason),
        subjects,
        hash: event.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        is_activation: !payload.changes.is_empty(),
    }
}
