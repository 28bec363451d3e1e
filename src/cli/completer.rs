//! Answers the completion scripts of shells: with the commands and flags of this binary, and with names from the server.

use std::ffi::OsStr;
use std::time::Duration;

use clap::FromArgMatches as _;
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};

use crate::cli::command_line::Cli;
use crate::cli::commands::completions::VARIABLE;
use crate::cli::overview;
use crate::cli::session::Session;
use crate::client::pb;

/// How long a completion waits for names. Longer: the shell seems to hang when there is no server.
const NAMES_WAIT_MAX: Duration = Duration::from_secs(1);
/// Most names that are requested. More would not fit on a screen.
const NAMES_MAX: i32 = 1_000;
/// Arguments that begin with the id of a policy.
const POLICY_ARGUMENTS: [&str; 6] = ["policy", "policies", "about", "target", "targets", "expected"];

/// Answers a completion script and ends the process; returns when no script asks.
pub fn answer_scripts() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// Returns the command line, with completers for the arguments that name something.
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

fn policies(prefix: &OsStr) -> Vec<CompletionCandidate> {
    candidates(prefix, async |session: Session| {
        let parent = session.namespace.name();
        let request = pb::ListPoliciesRequest { parent, page_size: NAMES_MAX, ..Default::default() };
        let listed = session.client.list_policies(request).await?;
        Ok(listed.policies.into_iter().map(|policy| policy.name).collect())
    })
}

fn namespaces(prefix: &OsStr) -> Vec<CompletionCandidate> {
    candidates(prefix, async |session: Session| {
        let request = pb::ListNamespacesRequest { page_size: NAMES_MAX, ..Default::default() };
        let listed = session.client.list_namespaces(request).await?;
        Ok(listed.namespaces.into_iter().map(|namespace| namespace.name).collect())
    })
}

/// Returns the ids among the names of `ask` that start with `prefix`; none on an error, since a completion can't show it.
fn candidates(
    prefix: &OsStr,
    ask: impl AsyncFnOnce(Session) -> anyhow::Result<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let asking = async {
        let none = overview::command().try_get_matches_from(["policyhub", "active"])?;
        let global = Cli::from_arg_matches(&none)?.global.in_context()?;
        ask(Session::open(&global).await?).await
    };
    let found = tokio::runtime::Builder::new_current_thread().enable_all().build().ok().and_then(|runtime| {
        let answer = runtime.block_on(async { tokio::time::timeout(NAMES_WAIT_MAX, asking).await });
        answer.ok()?.ok()
    });
    let prefix = prefix.to_string_lossy();
    let ids = found.unwrap_or_default();
    let ids = ids.iter().filter_map(|name| name.rsplit('/').next()).filter(|id| id.starts_with(&*prefix));
    ids.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
