//! `policyhub draft`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::args::Mutation;
use super::names::{NamedVersion, policy_id, policy_name};
use super::session::Session;
use super::{content, next, text};
use crate::client::name::PolicyId;
use crate::client::pb;

/// Write the next version of a policy, as a draft
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policyhub draft pricing pricing.yaml --label 1.2.0 --note 'raise the cap' --create"
)]
pub struct Arguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The content; - reads stdin
    file: PathBuf,
    /// SemVer of the version
    #[arg(long)]
    label: Option<String>,
    /// What changed and why
    #[arg(long)]
    note: Option<String>,
    /// Media type [default: by the file's name, else that of the policy's kind]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Make the policy when it is absent
    #[arg(long)]
    create: bool,
    /// The version you started from: N, vLABEL, POLICY/vLABEL, active or latest
    #[arg(long, value_name = "VERSION")]
    base_version: Option<NamedVersion>,
    #[command(flatten)]
    mutation: Mutation,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let base_version = match &arguments.base_version {
        Some(base) => base.of(&arguments.policy)?.number(&session.client, &session.namespace).await?,
        None => 0,
    };
    let request_id = arguments.mutation.request_id();
    let request = pb::DraftRequest {
        parent: policy_name(&session.namespace, &arguments.policy),
        content: content::read(&arguments.file)?.into(),
        content_type: arguments.content_type.unwrap_or_else(|| content::type_of(&arguments.file).to_owned()),
        label: arguments.label.unwrap_or_default(),
        change_note: arguments.note.unwrap_or_default(),
        base_version,
        request_id: request_id.clone(),
        allow_missing: arguments.create,
        validate_only: arguments.mutation.validate_only,
        ..Default::default()
    };
    let response = session.client.draft(request).await;
    let response = response.with_context(|| format!("failed to draft {}", arguments.policy))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        format!("{version}{}\n", text::at_revision(response.revision))
    })?;
    next::after_version(session, response.version.as_ref(), arguments.mutation.validate_only).await;
    Ok(())
}
