//! `policyhub activate`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::activate_set;
use super::args::Mutation;
use super::failure::Usage;
use super::names::{VersionTarget, policy_id};
use super::output::say;
use super::session::Session;
use super::{next, text};
use crate::client::name::PolicyId;
use crate::client::pb;

/// Put published versions in force, all or none
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub activate pricing@3 limits@v1.0.0 --reason 'new season' --expected pricing=2\n  \
                  policyhub activate --from active_releases.json --reason 'release 42'\n\n\
                  `policyhub active --format active-releases` writes such a file."
)]
pub struct Arguments {
    /// POLICY@N, POLICY@vLABEL or POLICY@latest, each policy once
    #[arg(required_unless_present = "from", value_name = "POLICY@VERSION")]
    targets: Vec<VersionTarget>,
    /// Make the active set exactly that of a file, {"POLICY": "LABEL"}: policies not in it are deactivated; - reads stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "expected"])]
    from: Option<PathBuf>,
    /// Why
    #[arg(long)]
    pub(super) reason: String,
    /// Fail unless this version is active now; 0: unless none is
    #[arg(long, value_name = "POLICY=N", value_parser = expected)]
    expected: Vec<(PolicyId, i64)>,
    /// Do not run today's checks on the versions; for admins
    #[arg(long)]
    pub(super) skip_validation: bool,
    #[command(flatten)]
    pub(super) mutation: Mutation,
}

fn expected(text: &str) -> Result<(PolicyId, i64), String> {
    let (policy, number) = text.split_once('=').ok_or("must be POLICY=N")?;
    let number: u32 = number.parse().map_err(|_| "N must be the number of a version, or 0".to_owned())?;
    Ok((policy_id(policy)?, i64::from(number)))
}

impl Arguments {
    /// What can be refused before a server is asked.
    pub fn check(&self) -> Result<(), Usage> {
        let stranger = self.expected.iter().find(|(policy, _)| self.targets.iter().all(|it| &it.policy != policy));
        match stranger {
            Some((policy, _)) => Err(Usage(format!("--expected names {policy}, which is not activated"))),
            None => Ok(()),
        }
    }
}

/// Runs it. Labels and pointers are resolved first: what is activated is always a number.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    if let Some(file) = &arguments.from {
        return activate_set::run(session, file, &arguments).await;
    }
    let mut targets = Vec::with_capacity(arguments.targets.len());
    for target in &arguments.targets {
        let expected = arguments.expected.iter().find(|(policy, _)| policy == &target.policy);
        targets.push(pb::ActivateTarget {
            policy: target.policy.to_string(),
            version: target.number(&session.client, &session.namespace).await?,
            expected_active: expected.map(|(_, number)| *number),
        });
    }
    let request_id = arguments.mutation.request_id();
    let request = pb::ActivateRequest {
        parent: session.namespace.name(),
        targets,
        reason: arguments.reason,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
        unmoved_since: None,
        skip_validation: arguments.skip_validation,
    };
    let response = session.client.activate(request).await.context("failed to activate")?;
    print(session, &response, &request_id, arguments.mutation.validate_only)
}

/// What an activation did, or would do.
pub fn print(
    session: &Session,
    response: &pb::ActivateResponse,
    request_id: &str,
    validate_only: bool,
) -> anyhow::Result<()> {
    if validate_only {
        let streams = response.activation.as_ref().map_or(0, |activation| activation.watching_streams);
        say(&format!("nothing was changed; {streams} open streams of this replica would hear of it"));
    }
    session.output.print_mutation(response, request_id, |response| {
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{moves}{}", text::done_at("activated", response.revision))
    })?;
    next::after_activation(session, response.revision);
    Ok(())
}
