//! A version: its content with line numbers and what checks found, who signed it, and who approved this very digest.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::content_lines::{ContentLines, LineFinding, content_lines, findings_of};
use super::pointer_facts::PointerFacts;
use super::schedule_rows::{PolicySchedule, read_policy_schedules};
use super::version_forms::{VersionFacts, version_forms};
use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::adopted::Adopted;
use crate::domain::approval::Approval;
use crate::domain::name::PolicyName;
use crate::domain::policy::{PolicyKind, is_of_several_files};
use crate::domain::report::{Check, CheckResult, Report};
use crate::domain::template::TemplateSource;
use crate::domain::version::Version;
use crate::domain::{Reason, Result};
use crate::http::console::form::ActionForm;
use crate::http::console::layout::{
    Layout, Moment, ShortDigest, StateMark, menu_page_path, namespace_path, policy_path, release_of, version_path,
};
use crate::http::console::permitted::may;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "version.html")]
struct VersionPage {
    layout: Layout,
    href: String,
    /// The path of the log.
    log: String,
    number: i64,
    /// Whether another version is active.
    is_comparable: bool,
    state: StateMark,
    digest: ShortDigest,
    size_bytes: i64,
    content_type: VisibleText,
    author: VisibleText,
    created: Moment,
    publisher: VisibleText,
    published: Option<Moment>,
    note: VisibleText,
    requires: Vec<String>,
    /// The template that its content was made from.
    template: Option<TemplateLink>,
    /// Who wrote it before it came here; empty when it was made here.
    adopted: VisibleText,
    annotations: Vec<(VisibleText, VisibleText)>,
    base_version: i64,
    key_id: VisibleText,
    approvals: Vec<ApprovalRow>,
    checks: Vec<CheckRow>,
    has_report: bool,
    findings: Vec<LineFinding>,
    is_of_several_files: bool,
    /// Where a new draft is written from its content; empty when that can't be done.
    draft_href: String,
    /// Whether a check of it failed.
    has_failed: bool,
    content: ContentLines,
    schedules: Vec<PolicySchedule>,
    /// The path of the page of schedules.
    schedules_path: String,
    forms: Vec<ActionForm>,
}

/// The template that a content was made from.
struct TemplateLink {
    name: String,
    href: String,
    parameters: VisibleText,
}

struct ApprovalRow {
    by: VisibleText,
    at: Moment,
    until: Moment,
    reason: VisibleText,
    revision: i64,
}

struct CheckRow {
    id: VisibleText,
    result: &'static str,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::GetVersionRequest { name: visit.version_name(), view: pb::VersionView::Full.into() };
    let context = visit.read(Rpc::GetVersion, &asked).await?;
    let (name, is_full) = request::get_version(&asked)?;
    let found = visit.service().policies.get_version(&context, &name, is_full).await?;
    visit.read(Rpc::GetValidationReport, &pb::GetValidationReportRequest { name: visit.version_name() }).await?;
    let report = match visit.service().policies.get_report(&name).await {
        Ok((_, report)) => Some(report),
        Err(error) if error.reason == Reason::ReportNotFound => None,
        Err(error) => return Err(error),
    };
    let version = &found.version;
    visit.read(Rpc::GetPolicy, &pb::GetPolicyRequest { name: visit.policy_name() }).await?;
    let policy = visit.service().policies.get_policy(&version.policy).await?.policy;
    let pointer = PointerFacts::read(visit, &context, &policy).await?;
    let mut findings = report.as_ref().map(findings_of).unwrap_or_default();
    let has_files = is_of_several_files(&version.content_type);
    let content = found.content.as_deref().filter(|_| !has_files);
    let content = content.map(|bytes| content_lines(bytes, &mut findings)).unwrap_or_default();
    findings.retain(|finding| finding.severity != "info");
    let number = version.number;
    let layout = layout_of(visit, version);
    let may_draft =
        may(&context.grants, Rpc::Draft) && policy.kind != PolicyKind::Opaque && !has_files && !content.is_binary;
    let facts = VersionFacts {
        policy: &policy,
        version,
        pointer: &pointer,
        approvals: found.approvals.len(),
        is_author: version.author == context.actor(),
        grants: &context.grants,
    };
    let page = VersionPage {
        forms: version_forms(&layout, facts),
        layout,
        href: version_path(&version.policy, number),
        log: format!("{}/log", namespace_path(&version.policy.namespace)),
        number,
        is_comparable: policy.active_version > 0 && policy.active_version != number,
        state: StateMark::of(version, found.active),
        digest: ShortDigest::from(&version.digest),
        size_bytes: version.size_bytes,
        content_type: VisibleText::line(&version.content_type),
        author: VisibleText::line(&version.author),
        created: Moment::new(version.create_time, visit.now),
        publisher: VisibleText::line(&version.publisher),
        published: version.publish_time.map(|at| Moment::new(at, visit.now)),
        note: VisibleText::line(&version.change_note),
        requires: version.requires.iter().map(|each| format!("{} {}", each.policy, each.version_req)).collect(),
        template: version.template.as_ref().map(|source| template_link(version, source)),
        adopted: VisibleText::line(&version.adopted.as_ref().map(written).unwrap_or_default()),
        annotations: version.annotations.as_map().iter().map(annotation).collect(),
        base_version: version.base_version,
        key_id: VisibleText::line(&key_id(&version.manifest)),
        approvals: found.approvals.iter().map(|each| approval_row(visit, each)).collect(),
        checks: report.iter().flat_map(|report| &report.checks).map(check_row).collect(),
        has_report: report.is_some(),
        findings,
        is_of_several_files: has_files,
        draft_href: if may_draft { draft_path(version) } else { String::new() },
        has_failed: report.as_ref().is_some_and(has_failed),
        content,
        schedules: read_policy_schedules(visit, &version.policy, Some(number)).await?,
        schedules_path: menu_page_path(&version.policy.namespace, "schedules"),
    };
    Rendered::page(&page)
}

fn layout_of(visit: &Visit, version: &Version) -> Layout {
    visit
        .layout(format!("{} {}", version.policy.policy, release_of(version)))
        .in_namespace(&version.policy.namespace, &format!("show {}", version.short_name()))
        .below(version.policy.policy.to_string(), policy_path(&version.policy))
        .below(version.number.to_string(), version_path(&version.policy, version.number))
}

/// Returns where a new draft is written from the content of a version.
fn draft_path(version: &Version) -> String {
    format!("{}/draft?from={}", policy_path(&version.policy), version.number)
}

fn template_link(version: &Version, source: &TemplateSource) -> TemplateLink {
    let policy = PolicyName { namespace: version.policy.namespace.clone(), policy: source.policy().clone() };
    TemplateLink {
        name: format!("{}@{}", source.policy(), source.version()),
        href: version_path(&policy, source.version()),
        parameters: VisibleText::line(source.parameters()),
    }
}

/// Says who wrote a version before it came here.
fn written(adopted: &Adopted) -> String {
    let at = adopted.create_time().map(|at| format!(" at {at}")).unwrap_or_default();
    format!("by {}{at}, before it came here", adopted.author())
}

fn annotation((key, value): (&String, &String)) -> (VisibleText, VisibleText) {
    (VisibleText::line(key), VisibleText::line(value))
}

fn check_row(check: &Check) -> CheckRow {
    CheckRow { id: VisibleText::line(&check.id), result: result_word(check.result) }
}

fn has_failed(report: &Report) -> bool {
    report.checks.iter().any(|check| check.result == CheckResult::Failed)
}

fn result_word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Passed => "passed",
        CheckResult::Failed => "failed",
        CheckResult::Warning => "warning",
        CheckResult::Skipped => "skipped",
    }
}

fn approval_row(visit: &Visit, approval: &Approval) -> ApprovalRow {
    ApprovalRow {
        by: VisibleText::line(&approval.approver),
        at: Moment::new(approval.create_time, visit.now),
        until: Moment::new(approval.expire_time, visit.now),
        reason: VisibleText::line(&approval.reason),
        revision: approval.revision,
    }
}

/// Returns the key that a manifest names (RFC 7515 §4.1.4). The server verified it when it signed; `policyhub verify` does so elsewhere.
fn key_id(manifest: &str) -> String {
    let header = manifest.split('.').next().and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap_or_default();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    header.get("kid").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}
