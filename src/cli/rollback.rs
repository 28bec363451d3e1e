//! `policyhub rollback`

use anyhow::Context as _;
use clap::Args;

use super::args::Mutation;
use super::names::{NamedVersion, policy_id, policy_name};
use super::session::Session;
use super::{next, text};
use crate::client::name::PolicyId;
use crate::client::pb;
use crate::client::pb::activate_target::To;

/// Put an older version back in force
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub rollback pricing --to 2 --reason 'prices were wrong'")]
pub struct Arguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// A published version: N, vLABEL or POLICY/vLABEL [default: the one that was active before]
    #[arg(long, value_name = "VERSION")]
    to: Option<NamedVersion>,
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
    let to = match &arguments.to {
        Some(to) => to.of(&arguments.policy)?.destination(&session.client, &session.namespace).await?,
        None => To::Version(0),
    };
    let (version, label) = match to {
        To::Label(label) => (0, label),
        To::Version(number) => (number, String::new()),
        To::None(()) => (0, String::new()),
    };
    let request = pb::RollbackRequest {
        name: policy_name(&session.namespace, &arguments.policy),
        version,
        label,
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
