//! `policyhub completions`
//!
//! A script only calls this binary (`completer.rs`), which knows the commands and asks the server for names.

use anyhow::Context as _;
use clap::Args;
use clap_complete::Shell;
use clap_complete::env::Shells;

use crate::cli::output::document::write_stdout;

/// The environment variable that marks a call by a completion script.
pub const VARIABLE: &str = "POLICYHUB_COMPLETE";

/// A script that completes commands, flags and names of policies and namespaces in a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  source <(policyhub completions bash)\n  source <(policyhub completions zsh)\n  \
                  policyhub completions fish | source\n\nIn the file that the shell reads at its start, such as ~/.bashrc, this \
                  holds after an upgrade too.")]
pub struct CompletionsArguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for a shell.
pub fn run(arguments: &CompletionsArguments) -> anyhow::Result<()> {
    write_stdout(&script(arguments.shell)?)
}

fn script(shell: Shell) -> anyhow::Result<Vec<u8>> {
    let (shells, mut script) = (Shells::builtins(), Vec::new());
    let completer = shells.completer(&shell.to_string()).context("this shell has no completions")?;
    completer.write_registration(VARIABLE, "policyhub", "policyhub", "policyhub", &mut script)?;
    Ok(script)
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
    fn bash_takes_its_script() {
        let mut bash =
            Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
        let script = script(Shell::Bash).expect("a script");
        bash.stdin.take().expect("stdin").write_all(&script).expect("written");
        let output = bash.wait_with_output().expect("an end");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
