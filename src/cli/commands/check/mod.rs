//! `policyhub check`: the checks of versions before they are sent to a server.

mod contents;
mod printed;
mod rules;
mod server_rules;

use std::path::PathBuf;

use clap::Args;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use self::contents::{Checked, Contents};
use self::rules::Rules;
use crate::cli::commands::policy::PolicyKindArgument;
use crate::cli::global::Global;
use crate::cli::names::policy_id;
use crate::cli::output::progress::ProgressDisplay;
use crate::client::name::PolicyId;
use crate::client::pb;
use crate::server::local_checks::{LOCAL_CHECKS_AT_ONCE_MAX, LocalChecks};

/// Run the checks of versions without a server, or with the rules of one
///
/// Exit codes: 0, every content passes; 1, a check failed, or one could not be run; 2, the command line is wrong. Warnings fail nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    policyhub check pricing.yaml --rules rules.yaml\n  \
    policyhub check policies --rules rules.yaml --output sarif > findings.sarif\n  \
    policyhub check pricing.yaml --policy pricing --server https://hub.example:7070 -n team-a")]
pub struct CheckArguments {
    /// A content; a directory of a content of several files; a version folder of a release, or a directory of such; - reads stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Id of the policy [default: for a version folder its own, else the name of the file or directory]
    #[arg(long, value_name = "ID", value_parser = policy_id)]
    policy: Option<PolicyId>,
    /// The language of the content [default: that of the policy, else by the names of the files]
    #[arg(long, value_enum)]
    kind: Option<PolicyKindArgument>,
    /// YAML or JSON file with the guardrails and the settings of policies; no server is asked then
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(global: &Global, arguments: CheckArguments) -> anyhow::Result<()> {
    let CheckArguments { paths, policy, kind, rules } = arguments;
    let contents = Contents::read(&paths, policy.as_ref(), kind.map(Into::into))?;
    let rules = Rules::of(global, rules.as_deref()).await?;
    let (checks, bar) = (LocalChecks::default(), ProgressDisplay::of(contents.all.len() as u64, "checking"));
    let (checks, rules, contents, shown) = (&checks, &rules, &contents, &bar);
    let reports = stream::iter(&contents.all).map(async |content| {
        let report = check(checks, rules, contents, content).await;
        shown.advance(1);
        report
    });
    let reports: Vec<pb::ValidationReport> = reports.buffered(LOCAL_CHECKS_AT_ONCE_MAX).try_collect().await?;
    drop(bar);
    let checked: Vec<(&Checked, &pb::ValidationReport)> = contents.all.iter().zip(&reports).collect();
    printed::print(global.output, &rules.described(), &checked)?;
    let failed = checked.iter().filter(|(_, report)| !report.passed).count();
    anyhow::ensure!(failed == 0, "{failed} of {} contents can't be published: a check failed", checked.len());
    Ok(())
}

async fn check(
    checks: &LocalChecks,
    rules: &Rules,
    contents: &Contents,
    content: &Checked,
) -> anyhow::Result<pb::ValidationReport> {
    let parsed = checks.parse(rules.version(content).await?).await?;
    let active = rules.active(parsed.other_policies(), contents).await?;
    Ok(checks.finish(parsed, active).await?)
}
