//! `policyhub activate`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::activate_set;
use crate::cli::exit_code::UsageError;
use crate::cli::names::{NamedVersion, VersionTarget, policy_id};
use crate::cli::output::activation::print_activation;
use crate::cli::session::Session;
use crate::client::name::{PolicyId, VersionRef};
use crate::client::pb;

/// Put published versions in force, all or none
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub activate pricing@3 limits@v1.0.0 --reason 'new season' --expected pricing=2\n  \
                  policyhub activate --from active_releases.json --reason 'release 42'\n\n\
                  `policyhub active --format active-releases` writes such a file."
)]
pub struct ActivateArguments {
    /// POLICY@N, POLICY@vLABEL, POLICY/vLABEL or POLICY@latest, each policy once
    #[arg(required_unless_present = "from", value_name = "POLICY@VERSION")]
    targets: Vec<VersionTarget>,
    /// Make the active set exactly that of a file, {"POLICY": "LABEL"}: policies not in it are deactivated; - reads stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "expected"])]
    from: Option<PathBuf>,
    /// Why
    #[arg(long)]
    reason: String,
    /// Fail unless this version is active now, by number or vLABEL; 0: unless none is
    #[arg(long, value_name = "POLICY=N", value_parser = expected)]
    expected: Vec<(PolicyId, Option<VersionTarget>)>,
    /// Do not run today's checks on the versions; for admins
    #[arg(long)]
    skip_validation: bool,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Parses what must be active; no version for 0.
fn expected(text: &str) -> Result<(PolicyId, Option<VersionTarget>), String> {
    let (policy, version) = text.split_once('=').ok_or("must be POLICY=N")?;
    let policy = policy_id(policy)?;
    if version == "0" {
        return Ok((policy, None));
    }
    let version = version.parse::<NamedVersion>()?.of(&policy).map_err(|UsageError(why)| why)?;
    match version.version {
        VersionRef::Number(_) | VersionRef::Label(_) => Ok((policy, Some(version))),
        VersionRef::Active | VersionRef::Latest => Err("N must be the number or label of a version, or 0".to_owned()),
    }
}

impl ActivateArguments {
    /// Checks what needs no server.
    pub fn check(&self) -> Result<(), UsageError> {
        let stranger = self.expected.iter().find(|(policy, _)| self.targets.iter().all(|it| &it.policy != policy));
        match stranger {
            Some((policy, _)) => Err(UsageError(format!("--expected names {policy}, which is not activated"))),
            None => Ok(()),
        }
    }
}

/// Activates the targets. The expected versions and `latest` are resolved first.
pub async fn run(session: &Session, arguments: ActivateArguments) -> anyhow::Result<()> {
    if let Some(file) = &arguments.from {
        return activate_set::run(session, file, &arguments.reason, arguments.skip_validation, &arguments.mutation)
            .await;
    }
    let mut targets = Vec::with_capacity(arguments.targets.len());
    for target in &arguments.targets {
        let expected_active = match arguments.expected.iter().find(|(policy, _)| policy == &target.policy) {
            Some((_, Some(version))) => Some(version.number(&session.client, &session.namespace).await?),
            Some((_, None)) => Some(0),
            None => None,
        };
        targets.push(pb::ActivateTarget {
            policy: target.policy.to_string(),
            to: Some(target.destination(&session.client, &session.namespace).await?),
            expected_active,
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
    print_activation(session, &response, &request_id, arguments.mutation.validate_only)
}
