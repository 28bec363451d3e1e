//! `policyhub abandon`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::names::VersionTarget;
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::pb;

/// End a draft or a staged version
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub abandon pricing@4 --reason 'replaced by another idea'")]
pub struct AbandonArguments {
    /// POLICY@N, POLICY@vLABEL or POLICY/vLABEL
    target: VersionTarget,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Fail unless the version is still the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: AbandonArguments) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let request = pb::AbandonDraftRequest {
        name: arguments.target.name(&session.namespace),
        etag: arguments.etag,
        reason: arguments.reason,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.abandon_draft(request).await;
    let response = response.with_context(|| format!("failed to abandon {}", arguments.target))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        format!("{version}{}\n", text::at_revision(response.cursor))
    })
}
