//! Prints the reports of `policyhub check`.

use serde_json::{Value, json};

use super::contents::Checked;
use crate::cli::output::document::{Format, print_text, say, to_json};
use crate::cli::output::excerpt::ShownContent;
use crate::cli::output::text::line;
use crate::cli::output::{report, sarif};
use crate::client::pb;

/// Prints the reports: for people only what was found.
pub fn print(output: Format, rules: &str, checked: &[(&Checked, &pb::ValidationReport)]) -> anyhow::Result<()> {
    match output {
        Format::Text => {
            say(rules);
            print_text(&checked.iter().map(|(content, report)| text(content, report)).collect::<String>())
        }
        Format::Sarif => {
            let shown = checked.iter().map(|(content, report)| (shown(content), *report));
            output.print_document(&sarif::log(shown))
        }
        Format::Json | Format::Yaml => output.print_document(&document(rules, checked)?),
    }
}

fn shown(content: &Checked) -> ShownContent<'_> {
    ShownContent { path: &content.path, content_type: &content.content_type, content: &content.content }
}

fn text(content: &Checked, of: &pb::ValidationReport) -> String {
    let result = if of.passed { "PASSED" } else { "FAILED" };
    let label = content.label.as_ref().map(|label| format!("@v{label}")).unwrap_or_default();
    format!(
        "{result} {} as {}{label}\n{}",
        line(&content.path),
        content.policy,
        report::problems(of, Some(shown(content)))
    )
}

fn document(rules: &str, checked: &[(&Checked, &pb::ValidationReport)]) -> anyhow::Result<Value> {
    let mut contents = Vec::new();
    for (content, report) in checked {
        let response = pb::GetValidationReportResponse { report: Some((*report).clone()) };
        contents.push(json!({
            "path": content.path,
            "policy": content.policy,
            "label": content.label.as_ref().map(ToString::to_string).unwrap_or_default(),
            "passed": report.passed,
            "report": to_json(&response)?.get("report"),
        }));
    }
    Ok(json!({"rules": rules, "contents": contents}))
}
