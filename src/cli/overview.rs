//! Makes the first page of the help: every command in its group, and what holds for all of them.
//!
//! Boundary: this definition is the one for parsing, completions and the manual; clap has no groups of subcommands, so the template
//! contains them.

use std::fmt::Write as _;

use crate::cli::command_line::Cli;
use clap::CommandFactory as _;

/// Every public command, once. A test compares it with the definition.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "The life of a version",
        &[
            "check",
            "draft",
            "edit",
            "stage",
            "approve",
            "reject",
            "publish",
            "activate",
            "rollback",
            "deactivate",
            "schedule",
            "abandon",
            "release",
            "adopt",
        ],
    ),
    ("Looking", &["active", "history", "show", "diff", "report", "events", "console"]),
    ("Watching", &["watch", "agent", "subscribers", "convergence", "run"]),
    ("Proving and moving", &["verify", "export", "import"]),
    ("Administering", &["namespace", "policy", "guardrail", "role", "denials", "token", "keys"]),
    ("The server", &["serve", "migrate", "backup", "restore", "epoch", "config"]),
    ("The shell", &["context", "completions", "man"]),
];

const AFTER_HELP: &str = "`policyhub COMMAND --help` has an example of each; `policyhub --help` says more.";

const AFTER_LONG_HELP: &str = "\
Environment:
  POLICYHUB_CONTEXT                          as --context
  POLICYHUB_SERVER, POLICYHUB_NAMESPACE      as --server and --namespace
  POLICYHUB_TOKEN, POLICYHUB_TOKEN_FILE      a bearer token, or the file that has it
  POLICYHUB_CA_CERT                          as --ca-cert
  POLICYHUB_CLIENT_CERT, POLICYHUB_CLIENT_KEY  as --client-cert and --client-key
  POLICYHUB_DATA_DIR                         the directory of a local server, for its admin.token
  NO_COLOR                                   when set, nothing is coloured
  `policyhub serve --help` names those of the server.

Exit codes:
  0  done
  1  failed: the line `error:` on stderr says what, ends with the reason in brackets (docs/errors.md), and `next:` says
     what to do, where that is known
  2  the command line is wrong
  3  a release or an adoption is partial: what is left is for the next one

Data goes to stdout, everything else to stderr. --output json prints each answer as one JSON document, yaml as one of YAML.

Example:
  policyhub draft pricing pricing.yaml --create
  policyhub publish pricing@1 --activate --reason 'go live'";

/// Returns the whole definition.
#[must_use]
pub fn command() -> clap::Command {
    let command = without_empty_variables(Cli::command());
    let template = template(&command);
    command.help_template(template).after_help(AFTER_HELP).after_long_help(AFTER_LONG_HELP)
}

/// Makes an empty environment variable count as unset, as a pipeline leaves it for a value that it does not have.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |argument: &clap::Arg| {
        argument.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
    };
    let command =
        command.mut_args(
            |argument| if is_empty(&argument) { argument.env(clap::builder::Resettable::Reset) } else { argument },
        );
    command.mut_subcommands(without_empty_variables)
}

fn template(command: &clap::Command) -> String {
    let (header, literal) = (command.get_styles().get_header(), command.get_styles().get_literal());
    let mut text = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (group, names) in GROUPS {
        let _ = writeln!(text, "\n{header}{group}:{header:#}");
        for found in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = found.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, "  {literal}{:12}{literal:#} {about}", found.get_name());
        }
    }
    let _ = write!(text, "\n{header}Options of every client command:{header:#}\n{{options}}\n\n{{after-help}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut defined: Vec<&str> = shown.map(clap::Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        defined.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, defined, "GROUPS in src/cli/overview.rs");
    }

    #[test]
    fn help_shows_groups_options_environment_and_exit_codes() {
        let short = command().render_help().to_string();
        let long = command().render_long_help().to_string();
        for text in [&short, &long] {
            assert!(!text.contains('{'), "a tag was not read: {text}");
            for part in ["The life of a version:\n  check", "\n  activate ", "--server <URL>", "Usage: policyhub"] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        let variables =
            command().get_arguments().filter_map(|it| it.get_env()?.to_str().map(str::to_owned)).collect::<Vec<_>>();
        assert!(variables.len() >= 5);
        for part in variables.iter().map(String::as_str).chain(["Exit codes:", "  2  the command line is wrong"]) {
            assert!(long.contains(part), "{part} is not in {long}");
        }
        assert!(!short.contains("Exit codes:"));
    }
}
