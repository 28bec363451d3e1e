//! What was active at a time, and who had put it in force.

use std::collections::BTreeMap;

use askama::Template;

use crate::api::time::{rfc3339, timestamp};
use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::bundle::ActiveBundle;
use crate::domain::event::Payload;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::http::console::layout::{Layout, Moment, activation_path, policy_path, release_of, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// Policies on one page. More: with style and scripts it has over 100 KB.
const POLICIES_PER_PAGE: i32 = 50;

#[derive(Template)]
#[template(path = "active.html")]
struct ActivePageView {
    layout: Layout,
    at: VisibleText,
    revision: i64,
    rows: Vec<ActiveRow>,
    next: String,
}

struct ActiveRow {
    policy: String,
    policy_href: String,
    release: String,
    href: String,
    revision: i64,
    activation: String,
    since: Option<Moment>,
    by: VisibleText,
    reason: VisibleText,
}

/// Shows the page. Without a time it is what is active now.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let given = visit.fields.get("at").trim();
    let at = if given.is_empty() { None } else { Some(parse_time(given)?) };
    let asked = pb::ListActiveRequest {
        parent: visit.namespace_name(),
        metadata_only: true,
        page_size: POLICIES_PER_PAGE,
        page_token: visit.fields.get("page_token").to_owned(),
        at: at.map(|at| pb::list_active_request::At::Time(timestamp(at))),
        ..pb::ListActiveRequest::default()
    };
    visit.read(Rpc::ListActive, &asked).await?;
    let (query, list) = request::list_active(&asked)?;
    let namespace = visit.namespace()?;
    let found = visit.service().sync.list_active(&query).await?;
    visit.read(Rpc::ListEvents, &pb::ListEventsRequest { parent: namespace.name(), ..Default::default() }).await?;
    let moves = found.bundles.iter().map(|each| each.activation.revision);
    let events = visit.service().archive.list_events_at(&namespace, moves).await?;
    let last = found.bundles.last().filter(|_| !found.is_last).map(|each| &each.bundle.version.policy.policy);
    let key = last.map(|policy| request::write_active_key(&found.key_after(policy)));
    let command = at.map_or("active".to_owned(), |at| format!("active --at-time {at}"));
    let page = ActivePageView {
        layout: visit.layout("What was active").in_namespace(&namespace, &command),
        at: VisibleText::line(given),
        revision: found.at.cursor.revision,
        rows: found.bundles.iter().map(|each| active_row(visit, each, &events)).collect(),
        next: key.map(|key| visit.next_page(&list.token(&key), &["at"])).unwrap_or_default(),
    };
    Rendered::page(&page)
}

/// Parses a time of RFC 3339. One without an offset, as a field for a local time sends it, is in UTC.
fn parse_time(text: &str) -> Result<Micros> {
    let forms = [text.to_owned(), format!("{text}Z"), format!("{text}:00Z")];
    let found = forms.iter().find_map(|form| rfc3339(form));
    found.ok_or_else(|| Error::invalid_text("at", text, "must be a time, such as 2026-01-02T03:04:05Z"))
}

fn active_row(visit: &Visit, active: &ActiveBundle, events: &BTreeMap<i64, Payload>) -> ActiveRow {
    let (version, revision) = (&active.bundle.version, active.activation.revision);
    let event = events.get(&revision);
    ActiveRow {
        policy: version.policy.policy.to_string(),
        policy_href: policy_path(&version.policy),
        release: release_of(version),
        href: version_path(&version.policy, version.number),
        revision,
        activation: activation_path(&version.policy.namespace, revision),
        since: event.map(|event| Moment::new(event.time, visit.now)),
        by: event.map(|event| VisibleText::line(&event.actor)).unwrap_or_default(),
        reason: event.map(|event| VisibleText::line(&event.reason)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_an_offset_is_in_utc() {
        for text in ["2026-01-02T03:04:00Z", "2026-01-02T03:04:00", "2026-01-02T03:04", "2026-01-02T04:04:00+01:00"] {
            assert_eq!(parse_time(text).expect("a time"), Micros(1_767_323_040_000_000), "{text}");
        }
        for text in ["yesterday", "2026-01-02", "2026-13-02T03:04", "2026-01-02T03:04:00ZZ"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
