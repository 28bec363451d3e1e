//! `policyhub show`

use anyhow::Context as _;
use clap::Args;

use crate::cli::commands::{annotations, requirements};
use crate::cli::names::{VersionTarget, policy_name};
use crate::cli::output::document::{say, say_lines, write_stdout};
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::pb;

/// The exact content of a version, on stdout
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub show pricing@active > pricing.yaml")]
pub struct ShowArguments {
    /// POLICY@N, POLICY@vLABEL, POLICY@active or POLICY@latest
    target: VersionTarget,
}

/// Runs the command. With text output, the exact bytes go to stdout and a description of the version to stderr.
pub async fn run(session: &Session, arguments: ShowArguments) -> anyhow::Result<()> {
    let name = arguments.target.name(&session.namespace);
    let request = pb::GetVersionRequest { name, view: pb::VersionView::Full.into() };
    let response = session.client.get_version(request).await;
    let response = response.with_context(|| format!("failed to show {}", arguments.target))?;
    if session.output.is_document() {
        return session.output.print(&response, |_| String::new());
    }
    let version = response.version.unwrap_or_default();
    say(&text::version(&version));
    if let Some(adopted) = &version.adopted {
        let (who, when) = (text::line(&version.author), text::time(version.create_time.as_ref()));
        say(&format!("written by {}; adopted by {who} at {when}", text::written(adopted)));
    }
    if let Some(template) = &version.template {
        let (policy, parameters) = (text::line(&template.policy), text::line(&template.parameters));
        say(&format!("made from template {policy}@{} with {parameters}", template.version));
    }
    if !version.requires.is_empty() {
        say(&format!("requires {}", requirements::line(&version.requires)));
    }
    if !version.annotations.is_empty() {
        say_lines(annotations::lines(&version.annotations).trim_end());
    }
    if [pb::VersionState::Draft, pb::VersionState::Staged].contains(&version.state()) {
        say_lines(&review(session, &version, policy_name(&session.namespace, &arguments.target.policy)).await?);
    }
    write_stdout(&version.content)
}

/// Returns what a reviewer needs besides the content: the whole digest, and the number of approvals.
async fn review(session: &Session, version: &pb::Version, policy: String) -> anyhow::Result<String> {
    let response = session.client.get_policy(pb::GetPolicyRequest { name: policy }).await;
    let policy = response.context("failed to read how many approvals it needs")?.policy.unwrap_or_default();
    let required = policy.settings.unwrap_or_default().required_approvals;
    let (given, approvals) = (version.approvals.len(), text::approvals(&version.approvals));
    let digest = text::line(&version.digest);
    Ok(format!("{digest}\n{given} of {required} approvals\n{approvals}").trim_end().to_owned())
}
