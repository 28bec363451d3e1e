//! An activation: how far it has come among the runtimes, and who rejects it and why.

use askama::Template;

use super::fleet::{SubscriberRow, subscriber_row};
use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::convergence::ConvergenceAnswer;
use crate::domain::event::Payload;
use crate::domain::listing::SeenSubscriber;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::subscriber::{Subscriber, SubscriberName};
use crate::domain::{Error, Result};
use crate::http::console::layout::{Layout, Moment, namespace_path, policy_path};
use crate::http::console::rendered::{Rendered, render};
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// The width of the bar, in units of its drawing.
const BAR_WIDTH: u64 = 1_000;

#[derive(Template)]
#[template(path = "activation.html")]
struct ActivationPage {
    layout: Layout,
    moved: Option<ActivationEvent>,
    live_path: String,
    part: ConvergencePart,
}

/// What moves on the page: the bar, its numbers, and who is named.
#[derive(Template)]
#[template(path = "parts/convergence.html")]
struct ConvergencePart {
    applied: usize,
    rejected: usize,
    pending: usize,
    unconcerned: usize,
    diverged: usize,
    offline: u64,
    superseded_by: Option<SupersedingActivation>,
    bar: Vec<BarSegment>,
    named: Vec<NamedGroup>,
}

impl askama::filters::HtmlSafe for ConvergencePart {}

/// The activation that put something else in force.
struct SupersedingActivation {
    revision: i64,
    href: String,
}

/// A stretch of the bar.
#[derive(Debug, PartialEq, Eq)]
struct BarSegment {
    class: &'static str,
    start: u64,
    width: u64,
}

struct ActivationEvent {
    kind: &'static str,
    by: VisibleText,
    at: Moment,
    reason: VisibleText,
    moves: Vec<PointerMove>,
}

/// What happened to one policy.
struct PointerMove {
    text: String,
    /// Where it is rolled back.
    href: String,
}

/// The first runtimes of one progress.
struct NamedGroup {
    title: &'static str,
    rows: Vec<SubscriberRow>,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let (namespace, found) = read_convergence(visit).await?;
    let events = pb::ListEventsRequest { parent: visit.namespace_name(), ..pb::ListEventsRequest::default() };
    visit.read(Rpc::ListEvents, &events).await?;
    let revision = found.cursor.revision;
    let mut events = visit.service().archive.list_events_at(&namespace, [revision]).await?;
    let page = ActivationPage {
        layout: visit
            .layout(format!("Activation {revision}"))
            .in_namespace(&namespace, &format!("convergence {revision}")),
        moved: events.remove(&revision).map(|event| activation_event(visit, &namespace, &event)),
        live_path: format!("{}/activations/{revision}/live", namespace_path(&namespace)),
        part: convergence_part(visit, &namespace, &found),
    };
    Rendered::page(&page)
}

/// Renders what moves on the page.
pub async fn render_live(visit: &Visit) -> Result<String> {
    let (namespace, found) = read_convergence(visit).await?;
    render(&convergence_part(visit, &namespace, &found))
}

async fn read_convergence(visit: &Visit) -> Result<(NamespaceId, ConvergenceAnswer)> {
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
    Ok((namespace, found))
}

fn convergence_part(visit: &Visit, namespace: &NamespaceId, found: &ConvergenceAnswer) -> ConvergencePart {
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
    let counts = &found.counts;
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let bar = bar(&[
        ("applied", count(counts.applied)),
        ("rejected", count(counts.rejected)),
        ("pending", count(counts.pending)),
        ("offline", found.offline),
    ]);
    ConvergencePart {
        applied: counts.applied,
        rejected: counts.rejected,
        pending: counts.pending,
        unconcerned: counts.unconcerned,
        diverged: counts.diverged,
        offline: found.offline,
        superseded_by: found.superseded_by.map(|later| SupersedingActivation {
            revision: later.revision,
            href: format!("{}/activations/{}", namespace_path(namespace), later.revision),
        }),
        bar,
        named: groups.into_iter().filter(|group| !group.rows.is_empty()).collect(),
    }
}

/// Divides the bar among the counts. A count that is not 0 is at least as wide as can be seen.
fn bar(counts: &[(&'static str, u64)]) -> Vec<BarSegment> {
    const SEEN_WIDTH: u64 = 8;
    let shown: Vec<&(&'static str, u64)> = counts.iter().filter(|(_, count)| *count > 0).collect();
    let sum = shown.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count)).max(1);
    let reserved = SEEN_WIDTH.saturating_mul(u64::try_from(shown.len()).unwrap_or(u64::MAX));
    let divided = u128::from(BAR_WIDTH.saturating_sub(reserved));
    let mut start = 0;
    let segments = shown.into_iter().map(|(class, count)| {
        let share = divided.saturating_mul(u128::from(*count)).checked_div(u128::from(sum)).unwrap_or_default();
        let width = SEEN_WIDTH.saturating_add(u64::try_from(share).unwrap_or_default());
        let segment = BarSegment { class, start, width };
        start = start.saturating_add(width);
        segment
    });
    segments.collect()
}

fn activation_event(visit: &Visit, namespace: &NamespaceId, event: &Payload) -> ActivationEvent {
    let moves = event.changes.iter().map(|change| PointerMove {
        text: match change.version {
            0 => format!("{}: version {} → nothing", change.policy, change.previous),
            version if change.previous == 0 => format!("{}: nothing → version {version}", change.policy),
            version => format!("{}: version {} → version {version}", change.policy, change.previous),
        },
        href: policy_path(&PolicyName { namespace: namespace.clone(), policy: change.policy.clone() }),
    });
    ActivationEvent {
        kind: event.kind.as_str(),
        by: VisibleText::line(&event.actor),
        at: Moment::new(event.time, visit.now),
        reason: VisibleText::line(&event.reason),
        moves: moves.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_filled_and_shows_one_among_many() {
        let segments = bar(&[("applied", 9_999), ("rejected", 1), ("pending", 0), ("offline", 0)]);
        assert_eq!(segments.len(), 2, "{segments:?}");
        assert!(segments[1].width >= 8 && segments[1].start == segments[0].width, "{segments:?}");
        let end = segments[1].start + segments[1].width;
        assert!((BAR_WIDTH - 2..=BAR_WIDTH).contains(&end), "{segments:?}");
        assert_eq!(bar(&[("applied", 0)]), []);
        let most = bar(&[("applied", u64::MAX), ("offline", u64::MAX)]);
        assert!(most.iter().all(|segment| segment.width <= BAR_WIDTH), "{most:?}");
    }
}
