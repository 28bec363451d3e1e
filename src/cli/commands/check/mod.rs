//! `policyhub check`: the checks of versions before they are sent to a server.

mod contents;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::commands::policy::PolicyKindArgument;
use crate::cli::exit_code::{CommandReason, UsageError, exit_code};
use crate::cli::global::Global;
use crate::cli::local_check::{self, Contents, LocalContent, LocalReport, RuleSource, check_all};
use crate::cli::names::policy_id;
use crate::cli::output::document::{Format, print_text, say};
use crate::cli::output::progress::ProgressDisplay;
use crate::cli::output::sarif;
use crate::cli::rules_file::RulesFileError;
use crate::client::name::PolicyId;
use crate::domain::causes::causes;

/// Run the checks of versions without a server, or with the rules of one
///
/// Exit codes: 0, every content passes; 1, a check failed, or one could not be run, or a content can't be read; 2, the command line is
/// wrong: a path is not there, nothing says what it holds, or the file of rules, or a schema or a guardrail in it, is wrong. Everything else
/// that it names is checked first, if there are rules. Warnings fail nothing.
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

/// What was checked, and what was found.
struct CheckedContents {
    /// Where the rules come from.
    rules: String,
    contents: Contents,
    reports: Vec<LocalReport>,
}

/// Runs the command. What keeps it from checking anything stands in the document too: whoever reads that must not take it for a pass.
pub async fn run(global: &Global, arguments: CheckArguments) -> anyhow::Result<()> {
    let CheckedContents { rules, contents, reports } = match check(global, arguments).await {
        Ok(checked) => checked,
        Err(error) => {
            print_failure(global.output, &error)?;
            return Err(error);
        }
    };
    let checked: Vec<(&LocalContent, &LocalReport)> = contents.all.iter().zip(&reports).collect();
    print(global.output, &rules, &checked)?;
    let failed = checked.iter().filter(|(_, of)| !of.report.passed).count();
    let why = format!("{failed} of {} contents can't be published: a check failed", checked.len());
    // What is wrong with the command line is told with everything else, once all that it names is checked.
    anyhow::ensure!(checked.iter().all(|(_, of)| !of.is_usage), UsageError(why));
    if failed > 0 {
        return Err(CommandReason::ValidationFailed.error(why));
    }
    Ok(())
}

async fn check(global: &Global, arguments: CheckArguments) -> anyhow::Result<CheckedContents> {
    let CheckArguments { paths, policy, kind, rules } = arguments;
    let rules = RuleSource::of(global, rules.as_deref()).await?;
    let (contents, notes) = contents::read(&paths, policy.as_ref(), kind.map(Into::into))?;
    notes.iter().for_each(|note| say(note));
    let bar = ProgressDisplay::of(contents.all.len() as u64, "checking");
    let reports = check_all(&rules, &contents, || bar.advance(1)).await?;
    Ok(CheckedContents { rules: rules.described(), contents, reports })
}

fn print(output: Format, rules: &str, checked: &[(&LocalContent, &LocalReport)]) -> anyhow::Result<()> {
    match output {
        Format::Text => {
            say(rules);
            print_text(&checked.iter().map(|(content, of)| local_check::text(content, of)).collect::<String>())
        }
        Format::Sarif => output.print_document(&local_check::sarif(checked)),
        Format::Json | Format::Yaml => {
            output.print_document(&json!({"rules": rules, "contents": local_check::document(checked)?, "error": ""}))
        }
    }
}

/// Prints that nothing was checked, and why, for programs.
fn print_failure(output: Format, error: &anyhow::Error) -> anyhow::Result<()> {
    let message = causes(error.as_ref());
    match output {
        Format::Text => Ok(()),
        Format::Sarif => {
            let file: Option<&RulesFileError> = error.chain().find_map(|cause| cause.downcast_ref());
            let place = file.map(|wrong| (wrong.file.display().to_string(), wrong.line, wrong.column));
            output.print_document(&sarif::failed_log(&message, exit_code(error), place.as_ref()))
        }
        Format::Json | Format::Yaml => output.print_document(&json!({"rules": "", "contents": [], "error": message})),
    }
}
