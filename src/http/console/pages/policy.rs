//! A policy: what is in force of it, and the rail of its versions, the newest on top.

use askama::Template;

use super::pointer_facts::PointerFacts;
use super::schedule_rows::{PolicySchedule, read_policy_schedules};
use super::version_forms::{VersionFacts, version_forms};
use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::event::Payload;
use crate::domain::policy::{Policy, PolicyKind, is_of_several_files};
use crate::domain::version::{Version, VersionState, VersionWithContent};
use crate::http::console::form::ActionForm;
use crate::http::console::layout::{
    Layout, Moment, ShortDigest, StateMark, menu_page_path, policy_path, release_of, version_path,
};
use crate::http::console::permitted::may;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::Context;

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
    may_draft: bool,
    groups: Vec<VersionFormGroup>,
    schedules: Vec<PolicySchedule>,
    /// The path of the page of schedules.
    schedules_path: String,
}

/// The forms of one version.
struct VersionFormGroup {
    release: String,
    forms: Vec<ActionForm>,
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
    let layout = visit
        .layout(name.policy.to_string())
        .in_namespace(&name.namespace, &format!("history {}", name.policy))
        .below(name.policy.to_string(), policy_path(&name));
    let has_files = found.items.first().is_some_and(|each| is_of_several_files(&each.version.content_type));
    let page = PolicyPage {
        href: policy_path(&name),
        kind: policy.kind.as_str(),
        description: VisibleText::line(&policy.description),
        required_approvals: policy.settings.required_approvals,
        active_version: policy.active_version,
        moved: moved.remove(&policy.active_revision).map(|event| pointer_moved(visit, &event)),
        rail: found.items.iter().map(|each| rail_step(visit, each)).collect(),
        next_token: reached.map(|key| list.list.token(&key.to_string())).unwrap_or_default(),
        may_draft: may(&context.grants, Rpc::Draft) && policy.kind != PolicyKind::Opaque && !has_files,
        groups: form_groups(visit, &context, (&layout, &policy), &found.items).await?,
        schedules: read_policy_schedules(visit, &name, None).await?,
        schedules_path: menu_page_path(&name.namespace, "schedules"),
        layout,
    };
    Rendered::page(&page)
}

/// Returns the forms of the newest version that can go on, of the one that a rollback returns to, and of the one that is active.
async fn form_groups(
    visit: &Visit,
    context: &Context,
    (layout, policy): (&Layout, &Policy),
    rail: &[VersionWithContent],
) -> Result<Vec<VersionFormGroup>> {
    let pointer = PointerFacts::read(visit, context, policy).await?;
    let goes_on = |each: &&VersionWithContent| match each.version.state {
        VersionState::Draft | VersionState::Staged => true,
        VersionState::Published => each.version.number > policy.active_version,
        VersionState::Superseded | VersionState::Abandoned | VersionState::Rejected => false,
    };
    let newest = rail.iter().find(goes_on);
    let before = if policy.active_version > 0 && may(&context.grants, Rpc::Rollback) {
        visit.service().policies.get_version_before(&policy.name).await?
    } else {
        None
    };
    let before = before.filter(|before| newest.is_none_or(|newest| newest.version.number != before.number));
    let group = |version: &Version, approvals: usize| VersionFormGroup {
        release: release_of(version),
        forms: version_forms(
            layout,
            VersionFacts {
                policy,
                version,
                pointer: &pointer,
                approvals,
                is_author: version.author == context.actor(),
                grants: &context.grants,
            },
        ),
    };
    let newest = newest.map(|each| group(&each.version, each.approvals.len()));
    let others = [before.as_ref(), pointer.active.as_ref()].into_iter().flatten().map(|version| group(version, 0));
    Ok(newest.into_iter().chain(others).filter(|group| !group.forms.is_empty()).collect())
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
