//! The page that drafts the next version of a policy: the text of the active one to edit, and what checks find in it.

use askama::Template;

use super::content_lines::{ContentLine, LineFinding, content_lines, findings_of};
use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::policy::{PolicyKind, is_of_several_files};
use crate::domain::report::Report;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::http::console::layout::{Layout, policy_path};
use crate::http::console::next_steps::{NextStep, next_step};
use crate::http::console::permitted::may;
use crate::http::console::refusal::http_status;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::{VisibleText, has_invisible};
use crate::http::console::visit::Visit;

/// What a text is edited from.
#[derive(Debug)]
pub struct DraftBase {
    /// The version that is active; none when nothing is.
    pub version: Option<Version>,
    /// Its text.
    pub text: String,
}

/// What the author wrote.
#[derive(Debug, Clone, Default)]
pub struct DraftText {
    /// The content.
    pub text: String,
    /// The label.
    pub label: String,
    /// The change note.
    pub note: String,
    /// The version that the draft starts from; 0: none.
    pub base_version: i64,
    /// The version whose text was edited, when that is another one: a draft that is corrected; 0: it is the base.
    pub from_version: i64,
}

/// What became of a text that was sent.
#[derive(Debug)]
pub enum DraftOutcome {
    /// It was not sent yet.
    Unsent,
    /// It was checked.
    Checked(Report),
    /// It was refused.
    Refused(Error),
}

#[derive(Template)]
#[template(path = "draft.html")]
struct DraftPage {
    layout: Layout,
    action: String,
    request_id: String,
    written: DraftText,
    may_draft: bool,
    has_invisible: bool,
    message: VisibleText,
    reason: String,
    violations: Vec<(VisibleText, VisibleText)>,
    next: Option<NextStep>,
    is_checked: bool,
    lines: Vec<ContentLine>,
    findings: Vec<LineFinding>,
}

/// Shows the page with the active text, or with that of the version that the query names.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::GetPolicyRequest { name: visit.policy_name() };
    let context = visit.read(Rpc::GetPolicy, &asked).await?;
    let which = match visit.fields.number_or_zero("from")? {
        0 => "active".to_owned(),
        number => number.to_string(),
    };
    let DraftBase { version, text } = read_base(visit, &which).await?;
    let written = match version {
        // What is corrected was to replace the base of the draft, and still is.
        Some(version) if !matches!(version.state, VersionState::Published) => DraftText {
            text,
            note: version.change_note,
            base_version: version.base_version,
            from_version: version.number,
            ..DraftText::default()
        },
        version => {
            let base_version = version.map_or(0, |version| version.number);
            DraftText { text, base_version, ..DraftText::default() }
        }
    };
    draft_page(visit, written, DraftOutcome::Unsent, may(&context.grants, Rpc::Draft))
}

/// Reads the text that is edited: of a version by its number, or `active`.
///
/// # Errors
/// `INVALID_ARGUMENT` for a content that is no text of one file, and errors of the reads.
pub async fn read_base(visit: &Visit, which: &str) -> Result<DraftBase> {
    let policy = visit.policy()?;
    let kind = visit.service().policies.get_policy(&policy).await?.policy.kind;
    if kind == PolicyKind::Opaque {
        return Err(not_here("is not known to be text"));
    }
    let asked = pb::GetVersionRequest {
        name: format!("{}/versions/{which}", visit.policy_name()),
        view: pb::VersionView::Full.into(),
    };
    let context = visit.read(Rpc::GetVersion, &asked).await?;
    let (name, is_full) = request::get_version(&asked)?;
    let found = match visit.service().policies.get_version(&context, &name, is_full).await {
        Err(error) if error.reason == Reason::NoActiveVersion => {
            return Ok(DraftBase { version: None, text: String::new() });
        }
        found => found?,
    };
    if is_of_several_files(&found.version.content_type) {
        return Err(not_here("has several files"));
    }
    let text = std::str::from_utf8(found.content.as_deref().unwrap_or_default());
    // HTML has no way to write NUL.
    let text = text.ok().filter(|text| !text.contains('\0')).ok_or_else(|| not_here("is no text"))?.to_owned();
    Ok(DraftBase { version: Some(found.version), text })
}

fn not_here(why: &str) -> Error {
    Error::invalid("content", format!("{why}, so it can't be edited here: use `policyhub draft POLICY FILE`"))
}

/// Renders the page with what the author wrote. The status is that of the refusal, if it was refused.
pub fn draft_page(visit: &Visit, written: DraftText, outcome: DraftOutcome, may_draft: bool) -> Result<Rendered> {
    let policy = visit.policy()?;
    let path = policy_path(&policy);
    let (report, refused) = match outcome {
        DraftOutcome::Unsent => (None, None),
        DraftOutcome::Checked(report) => (Some(report), None),
        DraftOutcome::Refused(error) => (None, Some(error)),
    };
    let mut findings = report.as_ref().map(findings_of).unwrap_or_default();
    let mut lines = content_lines(written.text.as_bytes(), &mut findings).lines;
    lines.retain(|line| !line.findings.is_empty());
    findings.retain(|finding| finding.severity != "info");
    let violations = refused.iter().flat_map(|error| &error.violations);
    let layout = visit
        .layout(format!("Draft {}", policy.policy))
        .in_namespace(&policy.namespace, &format!("edit {}", policy.policy))
        .below(policy.policy.to_string(), path.clone());
    // The text is on the page: a link elsewhere is for a text that has to begin anew.
    let next = |error: &Error| match error.reason {
        Reason::InvalidArgument => None,
        Reason::ExpectedActiveMismatch => next_step(error, &layout.clone().below("draft", format!("{path}/draft"))),
        _ => next_step(error, &Layout::anonymous("")),
    };
    let page = DraftPage {
        next: refused.as_ref().and_then(next),
        layout,
        action: format!("{path}/draft"),
        request_id: uuid::Uuid::now_v7().to_string(),
        has_invisible: has_invisible(&written.text),
        written,
        may_draft,
        message: refused.as_ref().map(|error| VisibleText::line(&error.message)).unwrap_or_default(),
        reason: refused.as_ref().map(|error| error.reason.as_str()).unwrap_or_default(),
        violations: violations
            .map(|each| (VisibleText::line(&each.field), VisibleText::line(&each.description)))
            .collect(),
        is_checked: report.is_some(),
        lines,
        findings,
    };
    let status = refused.map_or(http::StatusCode::OK, |error| http_status(error.reason));
    Rendered::page_with(status, &page)
}
