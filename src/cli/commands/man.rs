//! `policyhub man`

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::output::document::{say, write_stdout};
use anyhow::Context as _;
use clap::Args;
use clap_mangen::Man;

/// The manual: its first page on stdout, or a page for each command in a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub man | man -l -\n  policyhub man --dir ~/.local/share/man/man1")]
pub struct ManArguments {
    /// Write a page for each command to this directory, which is made when it is absent
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the manual.
pub fn run(command: clap::Command, arguments: &ManArguments) -> anyhow::Result<()> {
    let Some(directory) = &arguments.dir else {
        return write_stdout(&first_page(command)?);
    };
    let pages = write(command, directory).with_context(|| format!("failed to write to {}", directory.display()))?;
    say(&format!("pages written to {}: {pages}", directory.display()));
    Ok(())
}

fn first_page(mut command: clap::Command) -> anyhow::Result<Vec<u8>> {
    command.build();
    let mut page = Vec::new();
    Man::new(command).render(&mut page).context("failed to write the manual")?;
    Ok(page)
}

/// Writes every page; returns how many.
fn write(command: clap::Command, directory: &Path) -> anyhow::Result<usize> {
    fs::create_dir_all(directory)?;
    let pages = pages(&command);
    clap_mangen::generate_to(command, directory)?;
    Ok(pages)
}

/// Counts the pages: one for each command and subcommand.
fn pages(command: &clap::Command) -> usize {
    shown(command).map(pages).sum::<usize>() + 1
}

/// Returns the subcommands, without the hidden ones, which only the server runs.
fn shown(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::overview;

    /// Collects the names of the pages of all commands.
    fn names(command: &clap::Command, path: &str, into: &mut Vec<String>) {
        into.push(path.to_owned());
        for inner in shown(command) {
            names(inner, &format!("{path}-{}", inner.get_name()), into);
        }
    }

    #[test]
    fn every_command_has_its_page() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path().join("man1");
        let written = write(overview::command(), &directory).expect("written");
        let mut wanted = Vec::new();
        names(&overview::command(), "policyhub", &mut wanted);
        assert_eq!((wanted.len(), fs::read_dir(&directory).expect("listed").count()), (written, written));
        for name in wanted {
            let page = fs::read_to_string(directory.join(format!("{name}.1"))).expect(&name);
            for part in [".TH ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n"] {
                assert!(page.contains(part), "{part:?} is not in {name}");
            }
            assert!(!page.contains(env!("CARGO_MANIFEST_DIR")), "{name} names a directory of the build");
        }
    }

    #[test]
    fn the_first_page_has_every_command_and_the_exit_codes() {
        let page = String::from_utf8(first_page(overview::command()).expect("a page")).expect("UTF-8");
        for command in shown(&overview::command()) {
            assert!(page.contains(&format!("policyhub\\-{}(1)", command.get_name())), "{}", command.get_name());
        }
        assert!(page.contains("Exit codes:") && page.contains("POLICYHUB_SERVER"));
    }
}
