//! `policyhub completions`

use clap::Args;
use clap_complete::Shell;

use super::output::write_stdout;
use super::overview;

/// A script that completes commands and flags in a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub completions bash > ~/.local/share/bash-completion/completions/policyhub\n  \
                  policyhub completions zsh > \"${fpath[1]}/_policyhub\"\n  \
                  policyhub completions fish > ~/.config/fish/completions/policyhub.fish"
)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    write_stdout(&script(arguments.shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut overview::command(), "policyhub", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let script = String::from_utf8(script(shell)).expect("UTF-8");
            for command in overview::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{} in {shell}", command.get_name());
            }
            for word in ["from", "heartbeats", "dry-run"] {
                assert!(script.contains(word), "{word} in {shell}");
            }
        }
    }

    #[test]
    fn bash_takes_its_script() {
        let mut bash =
            Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
        bash.stdin.take().expect("stdin").write_all(&script(Shell::Bash)).expect("written");
        let output = bash.wait_with_output().expect("an end");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
