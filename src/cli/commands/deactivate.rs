//! `policyhub deactivate`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::names::{policy_id, policy_name};
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb;

/// Put no version of a policy in force any more
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub deactivate pricing --reason 'season is over'")]
pub struct DeactivateArguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// Why
    #[arg(long)]
    reason: String,
    /// Fail unless this version is active now
    #[arg(long, value_name = "N")]
    expected: Option<i64>,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: DeactivateArguments) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let request = pb::DeactivateRequest {
        name: policy_name(&session.namespace, &arguments.policy),
        expected_active: arguments.expected,
        reason: arguments.reason,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
    };
    let response = session.client.deactivate(request).await;
    let response = response.with_context(|| format!("failed to deactivate {}", arguments.policy))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{moves}{}", text::done_at("deactivated", response.cursor))
    })
}
