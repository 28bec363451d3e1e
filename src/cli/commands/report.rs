//! `policyhub report`

use anyhow::Context as _;
use clap::Args;

use crate::cli::names::VersionTarget;
use crate::cli::output::report;
use crate::cli::session::Session;
use crate::client::pb;

/// What the checks found, the last time they ran on a version
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub report pricing@3")]
pub struct ReportArguments {
    /// POLICY@N, POLICY@vLABEL, POLICY@active or POLICY@latest
    target: VersionTarget,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ReportArguments) -> anyhow::Result<()> {
    let request = pb::GetValidationReportRequest { name: arguments.target.name(&session.namespace) };
    let response = session.client.get_validation_report(request).await;
    let response = response.with_context(|| format!("failed to get the report of {}", arguments.target))?;
    session.output.print(&response, |response| response.report.as_ref().map(report::report).unwrap_or_default())
}
