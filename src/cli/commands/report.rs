//! `policyhub report`

use anyhow::Context as _;
use clap::Args;

use crate::cli::names::{VersionTarget, policy_of, short};
use crate::cli::output::document::{Format, print_text, say_lines};
use crate::cli::output::excerpt::ShownContent;
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::{report, sarif};
use crate::cli::session::Session;
use crate::client::{ClientError, pb};

/// What the checks found, the last time they ran on a version
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub report pricing@3\n  policyhub report pricing@3 --output sarif")]
pub struct ReportArguments {
    /// POLICY@N, POLICY@vLABEL, POLICY@active or POLICY@latest
    target: VersionTarget,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ReportArguments) -> anyhow::Result<()> {
    let request = pb::GetValidationReportRequest { name: arguments.target.name(&session.namespace) };
    let response = session.client.get_validation_report(request).await;
    let response = response.with_context(|| format!("failed to get the report of {}", arguments.target))?;
    let report = response.report.clone().unwrap_or_default();
    match session.output {
        Format::Text => print_text(&with_excerpts(session, &report, TerminalStyle::stdout(), report::report).await),
        Format::Sarif => {
            let path = shown(&report);
            let content = ShownContent { path: &path, content_type: "", content: b"", style: TerminalStyle::stdout() };
            session.output.print_document(&sarif::log([(content, &report)].into_iter()))
        }
        Format::Json | Format::Yaml => session.output.print(&response, |_| String::new()),
    }
}

/// Returns a report as text for an output of this style, with the lines of the content as far as it can be read.
pub async fn with_excerpts(
    session: &Session,
    report: &pb::ValidationReport,
    style: TerminalStyle,
    formatted: impl FnOnce(&pb::ValidationReport, Option<ShownContent<'_>>) -> String,
) -> String {
    let has_place = report.checks.iter().flat_map(|check| &check.findings).any(|found| found.line > 0);
    let request = pb::GetVersionRequest { name: report.version_name.clone(), view: pb::VersionView::Full.into() };
    let found = if has_place { session.client.get_version(request).await.ok() } else { None };
    let version = found.and_then(|found| found.version);
    let path = shown(report);
    let content = version.as_ref().map(|version| ShownContent {
        path: &path,
        content_type: &version.content_type,
        content: &version.content,
        style,
    });
    formatted(report, content)
}

/// Returns the version of a report as the command line names it.
fn shown(report: &pb::ValidationReport) -> String {
    format!("{}@{}", policy_of(&report.version_name), short(&report.version_name))
}

/// Prints what the checks of a refused version found, before its error is explained. A refusal for another reason prints nothing.
pub async fn show_refused(session: &Session, error: &ClientError) {
    if error.reason() != "VALIDATION_FAILED" || session.output != Format::Text {
        return;
    }
    let request = pb::GetValidationReportRequest { name: error.resource().to_owned() };
    let Ok(found) = session.client.get_validation_report(request).await else { return };
    let report = found.report.unwrap_or_default();
    say_lines(with_excerpts(session, &report, TerminalStyle::stderr(), report::problems).await.trim_end());
}
