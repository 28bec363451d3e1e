//! `policyhub completions`, and what the scripts of it ask.
//!
//! A script knows nothing but how to ask this binary, which knows the commands and asks the server for names.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, FromArgMatches as _};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate, Shell};

use super::args::Cli;
use super::output::write_stdout;
use super::overview;
use super::session::Session;
use crate::client::pb;

/// How long a person who pressed a key waits for names. Longer: the shell seems to hang where no server is.
const NAMES_MAX: Duration = Duration::from_secs(1);
/// Names asked for. More would fill more than a screen.
const NAMES_ASKED: i32 = 1_000;
/// By what a script says that it asks.
const VARIABLE: &str = "POLICYHUB_COMPLETE";
/// Arguments that begin with the id of a policy.
const POLICY_ARGUMENTS: [&str; 6] = ["policy", "policies", "about", "target", "targets", "expected"];

/// A script that completes commands, flags and names of policies and namespaces in a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  source <(policyhub completions bash)\n  source <(policyhub completions zsh)\n  \
                  policyhub completions fish | source\n\nIn the file that the shell reads at its start, such as ~/.bashrc, this \
                  holds after an upgrade too.")]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    write_stdout(&script(arguments.shell)?)
}

fn script(shell: Shell) -> anyhow::Result<Vec<u8>> {
    let (shells, mut script) = (Shells::builtins(), Vec::new());
    let completer = shells.completer(&shell.to_string()).context("this shell has no completions")?;
    completer.write_registration(VARIABLE, "policyhub", "policyhub", "policyhub", &mut script)?;
    Ok(script)
}

/// Answers a script, and ends the process then; returns when none asks.
pub fn answer_scripts() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The definition, with who knows the names.
fn command() -> clap::Command {
    completing(overview::command())
}

fn completing(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| match argument.get_id().as_str() {
        id if POLICY_ARGUMENTS.contains(&id) => argument.add(ArgValueCompleter::new(policies)),
        "namespace" => argument.add(ArgValueCompleter::new(namespaces)),
        _ => argument,
    });
    command.mut_subcommands(completing)
}

fn policies(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, async |session: Session| {
        let parent = session.namespace.name();
        let request = pb::ListPoliciesRequest { parent, page_size: NAMES_ASKED, ..Default::default() };
        let listed = session.client.list_policies(request).await?;
        Ok(listed.policies.into_iter().map(|policy| policy.name).collect())
    })
}

fn namespaces(begun: &OsStr) -> Vec<CompletionCandidate> {
    candidates(begun, async |session: Session| {
        let request = pb::ListNamespacesRequest { page_size: NAMES_ASKED, ..Default::default() };
        let listed = session.client.list_namespaces(request).await?;
        Ok(listed.namespaces.into_iter().map(|namespace| namespace.name).collect())
    })
}

/// The ids of the names that `ask` finds, as far as they go on from what was begun. None when there is no answer: the shell is no
/// place for errors.
fn candidates(
    begun: &OsStr,
    ask: impl AsyncFnOnce(Session) -> anyhow::Result<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let asking = async {
        let none = overview::command().try_get_matches_from(["policyhub", "active"])?;
        let global = Cli::from_arg_matches(&none)?.global.in_context()?;
        ask(Session::open(&global).await?).await
    };
    let found = tokio::runtime::Builder::new_current_thread().enable_all().build().ok().and_then(|runtime| {
        let answer = runtime.block_on(async { tokio::time::timeout(NAMES_MAX, asking).await });
        answer.ok()?.ok()
    });
    let begun = begun.to_string_lossy();
    let ids = found.unwrap_or_default();
    let ids = ids.iter().filter_map(|name| name.rsplit('/').next()).filter(|id| id.starts_with(&*begun));
    ids.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_shell_has_a_script_that_asks_this_binary() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = String::from_utf8(script(shell).expect("a script")).expect("UTF-8");
            assert!(script.contains(VARIABLE) && script.contains("policyhub"), "{shell}: {script}");
        }
    }

    #[test]
    fn arguments_that_name_a_policy_are_known() {
        let is_known = |path: &[&str], id: &str| {
            let root = command();
            let found = path.iter().fold(&root, |at, name| at.find_subcommand(name).expect("a command"));
            let argument = found.get_arguments().find(|argument| argument.get_id() == id).expect("an argument");
            argument.get::<ArgValueCompleter>().is_some()
        };
        for (path, id) in [
            (&["draft"][..], "policy"),
            (&["stage"], "target"),
            (&["publish"], "targets"),
            (&["activate"], "targets"),
            (&["watch"], "policies"),
            (&["policy", "show"], "policy"),
        ] {
            assert!(is_known(path, id), "{path:?} {id}");
        }
        assert!(!is_known(&["draft"], "label"));
    }

    #[test]
    fn bash_takes_its_script() {
        let mut bash =
            Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
        let script = script(Shell::Bash).expect("a script");
        bash.stdin.take().expect("stdin").write_all(&script).expect("written");
        let output = bash.wait_with_output().expect("an end");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
