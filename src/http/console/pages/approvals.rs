//! What waits for an approval, the longest first, each with its difference to what is active.

use askama::Template;

use crate::api::pb;
use crate::domain::Result;
use crate::domain::access::{Permission, Rpc};
use crate::http::console::layout::{Layout, Moment, ShortDigest, policy_path, release_of, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::StagedVersion;

#[derive(Template)]
#[template(path = "approvals.html")]
struct ApprovalsPage {
    layout: Layout,
    /// Whether the caller may approve.
    may_approve: bool,
    rows: Vec<StagedRow>,
}

struct StagedRow {
    policy: String,
    release: String,
    href: String,
    /// Path of the difference to what is active; empty when nothing is.
    diff: String,
    digest: ShortDigest,
    author: VisibleText,
    is_own: bool,
    staged: Option<Moment>,
    note: VisibleText,
    given: usize,
    required: u32,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListVersionsRequest {
        parent: format!("{}/policies/-", visit.namespace_name()),
        ..pb::ListVersionsRequest::default()
    };
    let context = visit.read(Rpc::ListVersions, &asked).await?;
    let namespace = visit.namespace()?;
    let staged = visit.service().policies.list_staged(&context, &namespace).await?;
    let page = ApprovalsPage {
        layout: visit.layout("Approvals").in_namespace(&namespace, ""),
        may_approve: context.grants.permit(Permission::Approve),
        rows: staged.iter().map(|each| staged_row(visit, each)).collect(),
    };
    Rendered::page(&page)
}

fn staged_row(visit: &Visit, staged: &StagedVersion) -> StagedRow {
    let version = &staged.version;
    let (policy, number) = (&version.policy, version.number);
    let diff = format!("{}/diff?base={}&other={number}", policy_path(policy), staged.active_version);
    StagedRow {
        policy: policy.policy.to_string(),
        release: release_of(version),
        href: version_path(policy, number),
        diff: if staged.active_version > 0 { diff } else { String::new() },
        digest: ShortDigest::from(&version.digest),
        author: VisibleText::line(&version.author),
        is_own: version.author == visit.actor(),
        staged: version.stage_time.map(|at| Moment::new(at, visit.now)),
        note: VisibleText::line(&version.change_note),
        given: staged.approvals.len(),
        required: staged.required_approvals,
    }
}
