//! A namespace: what needs somebody's eyes, then what is in force of each policy, since when, by whom, and how many runtimes have it.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::bundle::ActiveBundle;
use crate::domain::event::{Cursor, Payload};
use crate::domain::fleet::{FleetCounts, PointerProgress};
use crate::domain::limits::PAGE_MAX_ITEMS;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::schedule::Schedule;
use crate::domain::version::{LabelInForce, Version};
use crate::http::console::layout::{Layout, Moment, namespace_path, policy_path, release_of, version_path};
use crate::http::console::rendered::{Rendered, render};
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::ActivePage;

/// Policies on one page.
const POLICIES_PER_PAGE: i32 = 100;
/// Most alarms that are listed.
const ALARMS_MAX: usize = 20;

#[derive(Template)]
#[template(path = "namespace.html")]
struct NamespacePage {
    layout: Layout,
    live_path: String,
    alarms: AlarmsPart,
    policies: PoliciesPart,
    next_token: String,
}

/// What needs somebody's eyes.
#[derive(Template)]
#[template(path = "parts/alarms.html")]
struct AlarmsPart {
    alarms: Vec<VisibleText>,
}

impl askama::filters::HtmlSafe for AlarmsPart {}

/// The policies, with how many runtimes run what is active.
#[derive(Template)]
#[template(path = "parts/policies.html")]
struct PoliciesPart {
    namespace: NamespaceId,
    rows: Vec<PolicyRow>,
    live: usize,
    offline: u64,
    query: VisibleText,
}

impl askama::filters::HtmlSafe for PoliciesPart {}

/// What the page shows, besides its frame.
struct NamespaceView {
    alarms: AlarmsPart,
    policies: PoliciesPart,
    next_token: String,
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
    let NamespaceView { alarms, policies, next_token } = read_view(visit).await?;
    let namespace = policies.namespace.clone();
    let encode = |field: &str| utf8_percent_encode(visit.fields.get(field), NON_ALPHANUMERIC).to_string();
    let page = NamespacePage {
        layout: visit.layout(namespace.to_string()).in_namespace(&namespace, "active"),
        live_path: format!("{}/live?q={}&page_token={}", namespace_path(&namespace), encode("q"), encode("page_token")),
        alarms,
        policies,
        next_token,
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
        filter: if query.is_empty() { String::new() } else { format!("name:{query:?} OR description:{query:?}") },
        ..pb::ListPoliciesRequest::default()
    };
    visit.read(Rpc::ListPolicies, &asked).await?;
    let namespace = visit.namespace()?;
    let list = request::list_policies(&asked)?;
    let found = visit.service().policies.list_policies(&namespace, &list.page, &list.filter).await?;
    let active = read_active(visit, &parent).await?;
    let in_force: BTreeMap<&PolicyId, &ActiveBundle> =
        active.bundles.iter().map(|each| (&each.bundle.version.policy.policy, each)).collect();
    let moves = in_force.values().map(|each| each.activation.revision);
    let events = read_events(visit, &namespace, moves).await?;
    let pointers = in_force.iter().map(|(policy, each)| ((*policy).clone(), each.activation)).collect();
    let fleet = count_fleet(visit, &namespace, &pointers).await?;
    let suspended = read_suspended(visit, &parent).await?;
    let row = |each: &PointedPolicy| policy_row(visit, each, &in_force, &events, &fleet);
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let rows = found.items.iter().map(row).collect();
    let policies = PoliciesPart {
        rows,
        live: fleet.live,
        offline: fleet.offline,
        query: VisibleText::line(query),
        namespace: namespace.clone(),
    };
    Ok(NamespaceView {
        alarms: AlarmsPart { alarms: alarms(&active, &fleet, &suspended) },
        policies,
        next_token: reached.map(|key| list.list.token(key.as_str())).unwrap_or_default(),
    })
}

async fn read_active(visit: &Visit, parent: &str) -> Result<ActivePage> {
    let asked = pb::ListActiveRequest {
        parent: parent.to_owned(),
        metadata_only: true,
        page_size: i32::try_from(PAGE_MAX_ITEMS).unwrap_or(i32::MAX),
        ..pb::ListActiveRequest::default()
    };
    visit.read(Rpc::ListActive, &asked).await?;
    let (query, _) = request::list_active(&asked)?;
    visit.service().sync.list_active(&query).await
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
    pointers: &BTreeMap<PolicyId, Cursor>,
) -> Result<FleetCounts> {
    let asked = pb::ListSubscribersRequest { parent: namespace.name(), ..Default::default() };
    visit.read(Rpc::ListSubscribers, &asked).await?;
    visit.service().sync.count_fleet(namespace, pointers).await
}

async fn read_suspended(visit: &Visit, parent: &str) -> Result<Vec<Schedule>> {
    let asked = pb::ListSchedulesRequest {
        parent: parent.to_owned(),
        filter: "state = SUSPENDED".to_owned(),
        ..pb::ListSchedulesRequest::default()
    };
    visit.read(Rpc::ListSchedules, &asked).await?;
    let (namespace, _, page, filter) = request::list_schedules(&asked)?;
    Ok(visit.service().policies.list_schedules(&namespace, &page, &filter).await?.items)
}

fn policy_row(
    visit: &Visit,
    pointed: &PointedPolicy,
    in_force: &BTreeMap<&PolicyId, &ActiveBundle>,
    events: &BTreeMap<i64, Payload>,
    fleet: &FleetCounts,
) -> PolicyRow {
    let policy = &pointed.policy;
    let id = &policy.name.policy;
    let active = in_force.get(id).map(|active| {
        let (version, revision) = (&active.bundle.version, active.activation.revision);
        let event = events.get(&revision);
        ActiveRow {
            release: release_of(version),
            href: version_path(&policy.name, version.number),
            since: event.map(|event| Moment::new(event.time, visit.now)),
            by: event.map(|event| VisibleText::line(&event.actor)).unwrap_or_default(),
            revision,
            progress: fleet.pointers.get(id).copied().unwrap_or_default(),
        }
    });
    PolicyRow {
        id: id.to_string(),
        href: policy_path(&policy.name),
        kind: policy.kind.as_str(),
        latest: policy.latest_version,
        active,
    }
}

/// Says what needs somebody's eyes, the worst first.
fn alarms(active: &ActivePage, fleet: &FleetCounts, suspended: &[Schedule]) -> Vec<VisibleText> {
    let mut said: Vec<String> = Vec::new();
    if active.staleness.degraded {
        said.push("The database does not answer: this is what was verified last.".to_owned());
    }
    if active.staleness.in_doubt {
        said.push("The store may have lost its newest changes: see `policyhub epoch show` on its server.".to_owned());
    }
    let rejected = fleet.pointers.iter().filter(|(_, progress)| progress.rejected > 0);
    said.extend(rejected.map(|(policy, progress)| {
        format!("{policy}: {} of {} runtimes reject what is active.", progress.rejected, progress.concerned())
    }));
    said.extend(broken_requirements(active));
    said.extend(suspended.iter().map(|each| format!("The schedule {} is suspended: {}", each.name.id, each.problem)));
    said.iter().take(ALARMS_MAX).map(|text| VisibleText::line(text)).collect()
}

/// Says which requirement of an active version does not hold among the others. Only a whole set can tell.
fn broken_requirements(active: &ActivePage) -> Vec<String> {
    if !active.is_last {
        return Vec::new();
    }
    let versions: BTreeMap<&PolicyId, &Version> =
        active.bundles.iter().map(|each| (&each.bundle.version.policy.policy, &each.bundle.version)).collect();
    let broken = versions.iter().flat_map(|(policy, version)| {
        let unmet = version.requires.iter().filter(|required| {
            let other = versions.get(&required.policy).map(|other| LabelInForce::from(*other));
            !required.is_satisfied_by(other)
        });
        unmet.map(move |required| format!("{policy} requires {} {}.", required.policy, required.version_req))
    });
    broken.collect::<BTreeSet<String>>().into_iter().collect()
}
