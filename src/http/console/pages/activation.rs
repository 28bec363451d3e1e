//! An activation: how far it has come among the runtimes, and who rejects it and why.

use askama::Template;

use super::fleet::{SubscriberRow, subscriber_row};
use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::event::Payload;
use crate::domain::listing::SeenSubscriber;
use crate::domain::subscriber::{Subscriber, SubscriberName};
use crate::domain::{Error, Result};
use crate::http::console::layout::{Layout, Moment};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "activation.html")]
struct ActivationPage {
    layout: Layout,
    moved: Option<ActivationEvent>,
    applied: usize,
    rejected: usize,
    pending: usize,
    unconcerned: usize,
    diverged: usize,
    offline: u64,
    named: Vec<NamedGroup>,
}

struct ActivationEvent {
    kind: &'static str,
    by: VisibleText,
    at: Moment,
    reason: VisibleText,
    moves: Vec<String>,
}

/// The first runtimes of one progress.
struct NamedGroup {
    title: &'static str,
    rows: Vec<SubscriberRow>,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let given = visit.argument("revision");
    let revision: i64 = given.parse().map_err(|_| Error::invalid_text("revision", given, "must be a number"))?;
    let asked = pb::GetConvergenceRequest {
        parent: visit.namespace_name(),
        cursor: Some(pb::Cursor::of_revision(revision)),
        wait: None,
    };
    visit.read(Rpc::GetConvergence, &asked).await?;
    let (namespace, position, _) = request::get_convergence(&asked)?;
    let at_once = None::<std::future::Ready<()>>;
    let found = visit.service().sync.get_convergence(&namespace, position, at_once).await?;
    let events = pb::ListEventsRequest { parent: visit.namespace_name(), ..pb::ListEventsRequest::default() };
    visit.read(Rpc::ListEvents, &events).await?;
    let mut events = visit.service().archive.list_events_at(&namespace, [found.cursor.revision]).await?;
    let row = |each: &Subscriber| {
        let seen = SeenSubscriber {
            name: SubscriberName { namespace: namespace.clone(), id: each.id.clone() },
            is_online: each.is_online(found.now),
            subscriber: each.clone(),
        };
        subscriber_row(visit, &seen)
    };
    let group = |title, all: &[Subscriber]| NamedGroup { title, rows: all.iter().map(row).collect() };
    let groups = [group("Rejected", &found.rejected), group("Pending", &found.pending), group("Gone", &found.gone)];
    let page = ActivationPage {
        layout: visit
            .layout(format!("Activation {revision}"))
            .in_namespace(&namespace, &format!("convergence {revision}")),
        moved: events.remove(&found.cursor.revision).map(|event| activation_event(visit, &event)),
        applied: found.counts.applied,
        rejected: found.counts.rejected,
        pending: found.counts.pending,
        unconcerned: found.counts.unconcerned,
        diverged: found.counts.diverged,
        offline: found.offline,
        named: groups.into_iter().filter(|group| !group.rows.is_empty()).collect(),
    };
    Rendered::page(&page)
}

fn activation_event(visit: &Visit, event: &Payload) -> ActivationEvent {
    let moves = event.changes.iter().map(|change| match change.version {
        0 => format!("{}: version {} → nothing", change.policy, change.previous),
        version if change.previous == 0 => format!("{}: nothing → version {version}", change.policy),
        version => format!("{}: version {} → version {version}", change.policy, change.previous),
    });
    ActivationEvent {
        kind: event.kind.as_str(),
        by: VisibleText::line(&event.actor),
        at: Moment::new(event.time, visit.now),
        reason: VisibleText::line(&event.reason),
        moves: moves.collect(),
    }
}
