//! `policyhub publish`

use anyhow::Context as _;
use clap::Args;

use super::args::Mutation;
use super::names::Target;
use super::session::Session;
use super::{next, text};
use crate::client::pb;

/// Sign a version; from then on it never changes
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub publish pricing@3 --activate --reason 'new season'")]
pub struct Arguments {
    /// POLICY@N, POLICY@vLABEL, or just POLICY when exactly one draft is open
    target: Target,
    /// Activate it in the same transaction
    #[arg(long, requires = "reason")]
    activate: bool,
    /// With --activate: fail unless this version is active now; 0: unless none is
    #[arg(long, value_name = "N", requires = "activate")]
    expected: Option<i64>,
    /// Publish without the approvals that are missing: for emergencies, needs the role admin, and is on record as such
    #[arg(long, requires = "reason")]
    break_glass: bool,
    /// Why; required to activate and to break the glass
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Fail unless the version is still the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: Mutation,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let request = pb::PublishRequest {
        name: arguments.target.name(&session.namespace),
        etag: arguments.etag,
        activate: arguments.activate,
        reason: arguments.reason,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
        break_glass: arguments.break_glass,
        expected_active: arguments.expected,
    };
    let response = session.client.publish(request).await;
    let response = response.with_context(|| format!("failed to publish {}", arguments.target))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{version}{}\n{moves}", text::at_revision(response.cursor))
    })?;
    if response.activation.is_some() {
        next::after_activation(session, response.cursor);
    } else {
        next::after_version(session, response.version.as_ref(), arguments.mutation.validate_only).await;
    }
    Ok(())
}
