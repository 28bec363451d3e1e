//! What can be written after `policyhub release`.

use std::path::PathBuf;

use clap::Args;

/// Publish what changed in a git repository of policies
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub release --dry-run\n  \
                        policyhub release --activate --commit --summary release.md\n\n\
                        Exit codes: 0 done, or nothing to do; 1 failed; 2 usage; 3 partial: run it again.")]
pub struct Arguments {
    /// The repository, or a directory in it; what HEAD names is released
    #[arg(default_value = ".")]
    pub repository: PathBuf,
    /// Policies that are released at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub jobs: u8,
    /// Put everything that was published in force, all at once
    #[arg(long)]
    pub activate: bool,
    /// Why it is activated [default: a text that names the commit]
    #[arg(long, value_name = "TEXT", requires = "activate")]
    pub reason: Option<String>,
    /// Check and ask; change nothing, neither on the server nor in .state
    #[arg(long)]
    pub dry_run: bool,
    /// Commit .state, and nothing else; pushing is yours
    #[arg(long, conflicts_with = "dry_run")]
    pub commit: bool,
    /// Append a summary in Markdown to this file
    #[arg(long, value_name = "FILE", env = "GITHUB_STEP_SUMMARY")]
    pub summary: Option<PathBuf>,
}
