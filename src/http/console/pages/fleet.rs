//! The subscribers of a namespace.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::listing::SeenSubscriber;
use crate::http::console::layout::{Layout, Moment};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    layout: Layout,
    filter: VisibleText,
    rows: Vec<SubscriberRow>,
    next: String,
}

/// A subscriber as pages show it.
pub struct SubscriberRow {
    /// Its id.
    pub id: VisibleText,
    /// Whose it is.
    pub owner: VisibleText,
    /// Whether its lease holds.
    pub is_online: bool,
    /// Whether it runs with something else than it says.
    pub has_diverged: bool,
    /// The revision that it applied last; 0: none.
    pub applied: i64,
    /// The revision that it rejects; 0: none.
    pub rejected: i64,
    /// Why it does.
    pub reason: VisibleText,
    /// What it says of itself.
    pub labels: VisibleText,
    /// When it was last seen.
    pub last_seen: Moment,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListSubscribersRequest {
        parent: visit.namespace_name(),
        page_size: 100,
        page_token: visit.fields.get("page_token").to_owned(),
        filter: visit.fields.get("filter").to_owned(),
        ..pb::ListSubscribersRequest::default()
    };
    visit.read(Rpc::ListSubscribers, &asked).await?;
    let (namespace, list, page, wanted) = request::list_subscribers(&asked)?;
    let found = visit.service().sync.list_subscribers(&namespace, &page, &wanted).await?;
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let page = FleetPage {
        layout: visit.layout("Fleet").in_namespace(&namespace, "subscribers"),
        filter: VisibleText::line(&asked.filter),
        rows: found.items.iter().map(|each| subscriber_row(visit, each)).collect(),
        next: reached.map(|key| visit.next_page(&list.token(key.as_str()), &["filter"])).unwrap_or_default(),
    };
    Rendered::page(&page)
}

/// Returns a subscriber as pages show it.
pub fn subscriber_row(visit: &Visit, seen: &SeenSubscriber) -> SubscriberRow {
    let subscriber = &seen.subscriber;
    let labels: Vec<String> =
        subscriber.profile.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    SubscriberRow {
        id: VisibleText::line(subscriber.id.as_str()),
        owner: VisibleText::line(&subscriber.owner),
        is_online: seen.is_online,
        has_diverged: subscriber.has_diverged(),
        applied: subscriber.status.applied.revision,
        rejected: subscriber.status.rejected.revision,
        reason: VisibleText::line(&subscriber.status.reason),
        labels: VisibleText::line(&labels.join(" ")),
        last_seen: Moment::new(subscriber.last_seen, visit.now),
    }
}
