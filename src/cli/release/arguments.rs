//! The arguments of `policyhub release`.

use std::path::PathBuf;

use crate::cli::release::git::POLICIES;
use clap::Args;
use clap::builder::FalseyValueParser;

/// Publish what changed in a git repository of policies
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub release --dry-run\n  \
                        policyhub release --activate --push --tag --summary release.md\n\n\
                        Exit codes: 0 done, or nothing to do; 1 failed; 2 usage; 3 partial: run it again.")]
pub struct ReleaseArguments {
    /// The repository, or a directory in it; what HEAD names is released
    #[arg(default_value = ".")]
    pub repository: PathBuf,
    /// Folder of the policies, from the top of the repository
    #[arg(long, value_name = "DIR", default_value = POLICIES, value_parser = folder)]
    pub path: String,
    /// Policies that are released at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub jobs: u8,
    /// Put everything that was published in force, all at once
    #[arg(long)]
    pub activate: bool,
    /// Why it is activated [default: a text that names the commit]
    #[arg(long, value_name = "TEXT", requires = "activate")]
    pub reason: Option<String>,
    /// Set allow_backport of each policy that has a version to deliver which is lower than a published one; takes an admin
    #[arg(long)]
    pub allow_backport: bool,
    /// Check and ask; change nothing, neither on the server nor in .state
    #[arg(long)]
    pub dry_run: bool,
    /// Commit .state, and nothing else
    #[arg(long, conflicts_with = "dry_run")]
    pub commit: bool,
    /// Commit .state and push the branch, and the tags with --tag; what another release pushed meanwhile is merged
    #[arg(long, conflicts_with = "dry_run")]
    pub push: bool,
    /// Tag what was delivered as POLICY/vSEMVER
    #[arg(long, conflicts_with = "dry_run")]
    pub tag: bool,
    /// Append a summary in Markdown to this file
    #[arg(long, value_name = "FILE", env = "GITHUB_STEP_SUMMARY")]
    pub summary: Option<PathBuf>,
    /// Append status, counts and versions as NAME=VALUE lines to this file, for later steps of a job
    #[arg(long, value_name = "FILE", env = "GITHUB_OUTPUT")]
    pub outputs: Option<PathBuf>,
    /// Say each failure as GitHub's ::error command, which annotates its file
    #[arg(long, env = "GITHUB_ACTIONS", value_parser = FalseyValueParser::new())]
    pub annotate: bool,
}

/// Parses a folder below the top of a repository, as git writes paths.
fn folder(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("./").unwrap_or(text);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let is_part = |part: &str| !matches!(part, "" | "." | ".." | ".git");
    if bare.split('/').all(is_part) {
        Ok(bare.to_owned())
    } else {
        Err("must be a folder below the top of the repository, such as config/policies".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_below_the_top() {
        for (text, path) in [("policies", "policies"), ("./a/b/", "a/b"), ("a b", "a b")] {
            assert_eq!(folder(text).as_deref(), Ok(path), "{text}");
        }
        for text in ["", ".", "./", "..", "a/../b", "/a", "a//b", ".git", "a/.git/b"] {
            assert!(folder(text).is_err(), "{text}");
        }
    }
}
