//! `policyhub rollback`

use anyhow::Context as _;
use clap::Args;

use super::args::Mutation;
use super::names::{policy_id, policy_name};
use super::session::Session;
use super::{next, text};
use crate::client::name::PolicyId;
use crate::client::pb;

/// Put an older version back in force
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub rollback pricing --to 2 --reason 'prices were wrong'")]
pub struct Arguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// Number of a published version [default: the one that was active before]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    to: i64,
    /// Why
    #[arg(long)]
    reason: String,
    /// Make a new version of the older content, instead of moving the pointer back
    #[arg(long)]
    copy_forward: bool,
    /// Do not run today's checks on the older content; for admins
    #[arg(long)]
    skip_validation: bool,
    #[command(flatten)]
    mutation: Mutation,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let mode = if arguments.copy_forward { pb::RollbackMode::CopyForward } else { pb::RollbackMode::Pointer };
    let request = pb::RollbackRequest {
        name: policy_name(&session.namespace, &arguments.policy),
        version: arguments.to,
        mode: mode.into(),
        reason: arguments.reason,
        skip_validation: arguments.skip_validation,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.rollback(request).await;
    let response = response.with_context(|| format!("failed to roll back {}", arguments.policy))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{version}{}\n{moves}", text::at_revision(response.revision))
    })?;
    next::after_activation(session, response.revision);
    Ok(())
}
