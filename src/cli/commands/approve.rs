//! `policyhub approve`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::RequestIdArgument;
use crate::cli::names::VersionTarget;
use crate::cli::output::{next_step, text};
use crate::cli::session::Session;
use crate::client::pb;

/// Approve a staged version that somebody else wrote
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub approve pricing@3 --digest sha256:4cc4… --reason 'read and tried'\n\n\
                  `policyhub show pricing@3` prints the content and its digest.")]
pub struct ApproveArguments {
    /// POLICY@N, POLICY@vLABEL or POLICY/vLABEL
    target: VersionTarget,
    /// The digest of what you reviewed, sha256:…
    #[arg(long)]
    digest: String,
    /// What you think of it
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    request_id: RequestIdArgument,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ApproveArguments) -> anyhow::Result<()> {
    let request_id = arguments.request_id.given_or_new();
    let request = pb::ApproveVersionRequest {
        name: arguments.target.name(&session.namespace),
        digest: arguments.digest,
        reason: arguments.reason,
        request_id: request_id.clone(),
    };
    let response = session.client.approve_version(request).await;
    let response = response.with_context(|| format!("failed to approve {}", arguments.target))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.clone().unwrap_or_default();
        let (line, revision) = (text::version(&version), text::at_revision(response.cursor));
        format!("{line}{revision}\n{}", text::approvals(&version.approvals))
    })?;
    next_step::after_version(session, response.version.as_ref(), false).await;
    Ok(())
}
