//! A namespace: what needs somebody's eyes, then what is in force of each policy, since when, by whom, and how many runtimes have it.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::content_matches::{ContentMatchesPart, REACHED_FIELD, read_content_matches};
use super::namespace_alarms::AlarmsPart;
use super::schedule_rows::read_open_schedules;
use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::bundle::ActiveBundle;
use crate::domain::command::ListPage;
use crate::domain::event::Payload;
use crate::domain::filter::quoted;
use crate::domain::fleet::{FleetCounts, PointerProgress};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::schedule::ScheduleState;
use crate::http::console::layout::{Layout, Moment, namespace_path, policy_path, release_of, version_path};
use crate::http::console::rendered::{Rendered, render};
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::InForce;

/// Policies on one page. More: with style and scripts it has over 100 KB.
const POLICIES_PER_PAGE: i32 = 50;

#[derive(Template)]
#[template(path = "namespace.html")]
struct NamespacePage {
    layout: Layout,
    live_path: String,
    alarms: AlarmsPart,
    policies: PoliciesPart,
    /// The link to further policies; empty when there are none.
    next: String,
    /// What a search found in contents; none without a search, and where its policies go on.
    contents: Option<ContentMatchesPart>,
    /// Whether the search in contents goes on here: the first page has the policies.
    has_contents_alone: bool,
}

/// The policies, with how many runtimes run what is active.
#[derive(Template)]
#[template(path = "parts/policies.html")]
struct PoliciesPart {
    namespace: NamespaceId,
    rows: Vec<PolicyRow>,
    live: usize,
    offline: u64,
    query: VisibleText,
    /// Whether those are all that match.
    is_whole: bool,
}

impl askama::filters::HtmlSafe for PoliciesPart {}

/// What the page shows, besides its frame.
struct NamespaceView {
    alarms: AlarmsPart,
    policies: PoliciesPart,
    next: String,
}

struct PolicyRow {
    id: String,
    href: String,
    kind: &'static str,
    latest: i64,
    active: Option<ActiveRow>,
}

/// What is in force of a policy.
struct ActiveRow {
    release: String,
    href: String,
    since: Option<Moment>,
    by: VisibleText,
    revision: i64,
    progress: PointerProgress,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let NamespaceView { alarms, policies, next } = read_view(visit).await?;
    let is_first = visit.fields.get("page_token").is_empty();
    let contents = if is_first { read_content_matches(visit).await? } else { None };
    let namespace = policies.namespace.clone();
    // Where only contents are shown, the live part looks for no names either.
    let same_page = visit.page_with((REACHED_FIELD, visit.fields.get(REACHED_FIELD)), &["q", "page_token"]);
    let page = NamespacePage {
        layout: visit.layout(namespace.to_string()).in_namespace(&namespace, "active"),
        live_path: format!("{}/live{same_page}", namespace_path(&namespace)),
        alarms,
        policies,
        next,
        contents,
        has_contents_alone: goes_on_in_contents(visit),
    };
    Rendered::page(&page)
}

/// Renders what moves on the page.
pub async fn render_live(visit: &Visit) -> Result<String> {
    let view = read_view(visit).await?;
    Ok(render(&view.alarms)? + &render(&view.policies)?)
}

async fn read_view(visit: &Visit) -> Result<NamespaceView> {
    let parent = visit.namespace_name();
    let query = visit.fields.get("q");
    let asked = pb::ListPoliciesRequest {
        parent: parent.clone(),
        page_size: POLICIES_PER_PAGE,
        page_token: visit.fields.get("page_token").to_owned(),
        filter: filter_of(query),
        ..pb::ListPoliciesRequest::default()
    };
    visit.read(Rpc::ListPolicies, &asked).await?;
    let namespace = visit.namespace()?;
    let list = request::list_policies(&asked)?;
    let found = if goes_on_in_contents(visit) {
        ListPage { items: Vec::new(), reached: None, is_last: true }
    } else {
        visit.service().policies.list_policies(&namespace, &list.page, &list.filter).await?
    };
    let in_force = read_active(visit, &namespace).await?;
    let ids: BTreeSet<PolicyId> = found.items.iter().map(|each| each.policy.name.policy.clone()).collect();
    let moves = ids.iter().filter_map(|id| in_force.view.get(id)).map(|active| active.activation.revision);
    let events = read_events(visit, &namespace, moves).await?;
    let fleet = count_fleet(visit, &namespace, &in_force, &ids).await?;
    let mut suspended = read_open_schedules(visit).await?;
    suspended.retain(|schedule| schedule.state == ScheduleState::Suspended);
    let row = |each: &PointedPolicy| {
        let id = &each.policy.name.policy;
        let progress = fleet.pointers.get(id).copied().unwrap_or_default();
        policy_row(visit, each, in_force.view.get(id).map(|active| (active, progress)), &events)
    };
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let rows = found.items.iter().map(row).collect();
    let policies = PoliciesPart {
        rows,
        live: fleet.live,
        offline: fleet.offline,
        query: VisibleText::line(query),
        is_whole: reached.is_none(),
        namespace: namespace.clone(),
    };
    Ok(NamespaceView {
        alarms: AlarmsPart::of(&namespace, &in_force, &fleet, &suspended),
        policies,
        next: reached.map(|key| visit.next_page(&list.list.token(key.as_str()), &["q"])).unwrap_or_default(),
    })
}

/// Returns whether the page is one on which the search in contents goes on.
fn goes_on_in_contents(visit: &Visit) -> bool {
    !visit.fields.get(REACHED_FIELD).is_empty()
}

/// Returns the filter of the RPC for what the search field has. Names are in lower case.
fn filter_of(query: &str) -> String {
    if query.is_empty() {
        return String::new();
    }
    format!("policy_id:{} OR description:{}", quoted(&query.to_ascii_lowercase()), quoted(query))
}

async fn read_active(visit: &Visit, namespace: &NamespaceId) -> Result<InForce> {
    let asked = pb::ListActiveRequest { parent: namespace.name(), metadata_only: true, ..Default::default() };
    visit.read(Rpc::ListActive, &asked).await?;
    visit.service().sync.in_force(namespace).await
}

async fn read_events(
    visit: &Visit,
    namespace: &NamespaceId,
    revisions: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, Payload>> {
    visit.read(Rpc::ListEvents, &pb::ListEventsRequest { parent: namespace.name(), ..Default::default() }).await?;
    visit.service().archive.list_events_at(namespace, revisions).await
}

async fn count_fleet(
    visit: &Visit,
    namespace: &NamespaceId,
    in_force: &InForce,
    shown: &BTreeSet<PolicyId>,
) -> Result<FleetCounts> {
    let asked = pb::ListSubscribersRequest { parent: namespace.name(), ..Default::default() };
    visit.read(Rpc::ListSubscribers, &asked).await?;
    visit.service().sync.count_fleet(namespace, &in_force.view, shown).await
}

fn policy_row(
    visit: &Visit,
    pointed: &PointedPolicy,
    active: Option<(&ActiveBundle, PointerProgress)>,
    events: &BTreeMap<i64, Payload>,
) -> PolicyRow {
    let policy = &pointed.policy;
    let active = active.map(|(active, progress)| {
        let (version, revision) = (&active.bundle.version, active.activation.revision);
        let event = events.get(&revision);
        ActiveRow {
            release: release_of(version),
            href: version_path(&policy.name, version.number),
            since: event.map(|event| Moment::new(event.time, visit.now)),
            by: event.map(|event| VisibleText::line(&event.actor)).unwrap_or_default(),
            revision,
            progress,
        }
    });
    PolicyRow {
        id: policy.name.policy.to_string(),
        href: policy_path(&policy.name),
        kind: policy.kind.as_str(),
        latest: policy.latest_version,
        active,
    }
}
