//! Prints the reports of contents.

use serde_json::{Value, json};

use super::LocalReport;
use super::contents::LocalContent;
use crate::cli::output::document::to_json;
use crate::cli::output::excerpt::ShownContent;
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::text::line;
use crate::cli::output::{report, sarif as sarif_log};
use crate::client::pb;

fn shown(content: &LocalContent) -> ShownContent<'_> {
    let LocalContent { path, content_type, content, .. } = content;
    ShownContent { path, content_type, content, style: TerminalStyle::stdout() }
}

/// Returns what became of a content, for people: only what was found.
pub fn text(content: &LocalContent, of: &LocalReport) -> String {
    let result = match (of.is_published, of.report.passed) {
        (true, _) => "PUBLISHED",
        (false, true) => "PASSED",
        (false, false) => "FAILED",
    };
    let label = content.label.as_ref().map(|label| format!("@v{label}")).unwrap_or_default();
    let already = if of.is_published { " already, so it is not checked again" } else { "" };
    format!(
        "{result} {} as {}{label}{already}\n{}",
        line(&content.path),
        content.policy,
        report::problems(&of.report, Some(shown(content)))
    )
}

/// Returns the findings of contents as a log for code hosts.
pub fn sarif(checked: &[(&LocalContent, &LocalReport)]) -> Value {
    sarif_log::log(checked.iter().map(|(content, of)| (shown(content), &of.report)))
}

/// Returns what became of contents, for programs.
pub fn document(checked: &[(&LocalContent, &LocalReport)]) -> anyhow::Result<Value> {
    let mut contents = Vec::new();
    for (content, of) in checked {
        let response = pb::GetValidationReportResponse { report: Some(of.report.clone()) };
        contents.push(json!({
            "path": content.path,
            "policy": content.policy,
            "label": content.label.as_ref().map(ToString::to_string).unwrap_or_default(),
            "passed": of.report.passed,
            "published": of.is_published,
            "report": to_json(&response)?.get("report"),
        }));
    }
    Ok(contents.into())
}
