//! A policy: what is in force of it, and the rail of its versions, the newest on top.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::event::Payload;
use crate::domain::version::VersionWithContent;
use crate::http::console::layout::{Layout, Moment, ShortDigest, StateMark, policy_path, release_of, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    layout: Layout,
    href: String,
    kind: &'static str,
    description: VisibleText,
    required_approvals: u32,
    active_version: i64,
    /// Who moved the pointer last, when and why.
    moved: Option<PointerMoved>,
    rail: Vec<RailStep>,
    next_token: String,
}

struct PointerMoved {
    kind: &'static str,
    by: VisibleText,
    at: Moment,
    reason: VisibleText,
    revision: i64,
}

struct RailStep {
    href: String,
    release: String,
    is_active: bool,
    state: StateMark,
    digest: ShortDigest,
    author: VisibleText,
    created: Moment,
    publisher: VisibleText,
    published: Option<Moment>,
    note: VisibleText,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let parent = visit.policy_name();
    visit.read(Rpc::GetPolicy, &pb::GetPolicyRequest { name: parent.clone() }).await?;
    let name = visit.policy()?;
    let policy = visit.service().policies.get_policy(&name).await?.policy;
    let asked = pb::ListVersionsRequest {
        parent,
        page_token: visit.fields.get("page_token").to_owned(),
        ..pb::ListVersionsRequest::default()
    };
    let context = visit.read(Rpc::ListVersions, &asked).await?;
    let list = request::list_versions(&asked)?;
    let found = visit.service().policies.list_versions(&context, &name, &list.page, &list.filter, false).await?;
    let asked = pb::ListEventsRequest { parent: visit.policy_name(), ..pb::ListEventsRequest::default() };
    visit.read(Rpc::ListEvents, &asked).await?;
    let moves = [policy.active_revision];
    let mut moved = visit.service().archive.list_events_at(&name.namespace, moves).await?;
    let reached = found.reached.filter(|_| !found.is_last);
    let layout = visit.layout(name.policy.to_string());
    let page = PolicyPage {
        layout: layout
            .in_namespace(&name.namespace, &format!("history {}", name.policy))
            .below(name.policy.to_string(), policy_path(&name)),
        href: policy_path(&name),
        kind: policy.kind.as_str(),
        description: VisibleText::line(&policy.description),
        required_approvals: policy.settings.required_approvals,
        active_version: policy.active_version,
        moved: moved.remove(&policy.active_revision).map(|event| pointer_moved(visit, &event)),
        rail: found.items.iter().map(|each| rail_step(visit, each)).collect(),
        next_token: reached.map(|key| list.list.token(&key.to_string())).unwrap_or_default(),
    };
    Rendered::page(&page)
}

fn pointer_moved(visit: &Visit, event: &Payload) -> PointerMoved {
    PointerMoved {
        kind: event.kind.as_str(),
        by: VisibleText::line(&event.actor),
        at: Moment::new(event.time, visit.now),
        reason: VisibleText::line(&event.reason),
        revision: event.revision,
    }
}

fn rail_step(visit: &Visit, each: &VersionWithContent) -> RailStep {
    let version = &each.version;
    RailStep {
        href: version_path(&version.policy, version.number),
        release: release_of(version),
        is_active: each.active,
        state: StateMark::of(version, each.active),
        digest: ShortDigest::from(&version.digest),
        author: VisibleText::line(&version.author),
        created: Moment::new(version.create_time, visit.now),
        publisher: VisibleText::line(&version.publisher),
        published: version.publish_time.map(|at| Moment::new(at, visit.now)),
        note: VisibleText::line(&version.change_note),
    }
}
