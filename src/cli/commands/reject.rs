//! `policyhub reject`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::RequestIdArgument;
use crate::cli::names::VersionTarget;
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::pb;

/// End a version that shall not be published
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policyhub reject pricing@3 --digest sha256:4cc4… --reason 'the cap is missing'\n\n\
                  `policyhub show pricing@3` prints the content and its digest."
)]
pub struct RejectArguments {
    /// POLICY@N, POLICY@vLABEL or POLICY/vLABEL
    target: VersionTarget,
    /// The digest of what you reviewed, sha256:…
    #[arg(long)]
    digest: String,
    /// Why
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    request_id: RequestIdArgument,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: RejectArguments) -> anyhow::Result<()> {
    let request_id = arguments.request_id.given_or_new();
    let request = pb::RejectVersionRequest {
        name: arguments.target.name(&session.namespace),
        digest: arguments.digest,
        reason: arguments.reason,
        request_id: request_id.clone(),
    };
    let response = session.client.reject_version(request).await;
    let response = response.with_context(|| format!("failed to reject {}", arguments.target))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        format!("{version}{}\n", text::at_revision(response.cursor))
    })
}
