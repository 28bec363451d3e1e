//! `policyhub stage`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::report::{show_refused, with_excerpts};
use crate::cli::names::PolicyOrVersionTarget;
use crate::cli::output::document::Format;
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::{next_step, report, text};
use crate::cli::session::Session;
use crate::client::pb;

/// Run every check on a draft and lock its content
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub stage pricing@3 --validate-only")]
pub struct StageArguments {
    /// POLICY@N, POLICY@vLABEL, or just POLICY when exactly one draft is open
    target: PolicyOrVersionTarget,
    /// Fail unless the version is still the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Runs the command. A check that fails under `--validate-only` makes the command fail too.
pub async fn run(session: &Session, arguments: StageArguments) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let request = pb::StageRequest {
        name: arguments.target.name(&session.namespace),
        etag: arguments.etag,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.stage(request).await;
    if let Err(error) = &response {
        show_refused(session, error).await;
    }
    let response = response.with_context(|| format!("failed to stage {}", arguments.target))?;
    let report = match &response.report {
        Some(found) if session.output == Format::Text => {
            with_excerpts(session, found, TerminalStyle::stdout(), report::report).await
        }
        _ => String::new(),
    };
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        format!("{version}{}\n{report}", text::at_revision(response.cursor))
    })?;
    let passed = response.report.is_none_or(|report| report.passed);
    anyhow::ensure!(passed, "{} can't be staged: a check failed", arguments.target);
    next_step::after_version(session, response.version.as_ref(), arguments.mutation.validate_only).await;
    Ok(())
}
