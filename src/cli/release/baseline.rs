//! Decides from which commit on a release looks for changes.
//!
//! Invariant: a commit is used only when it is an ancestor in this history. Otherwise every path counts as changed, and the server
//! answers what it already has.

use crate::cli::output::text;
use crate::cli::release::git::{Commit, Git};
use crate::cli::release::state::ReleaseState;

/// The paths that changed since the baseline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedPaths {
    /// Every path, since there is no baseline.
    All,
    /// These paths.
    Of(Vec<Vec<u8>>),
}

impl ChangedPaths {
    /// Returns whether a path changed.
    pub fn has(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Of(paths) => paths.iter().any(|changed| changed == path),
        }
    }
}

/// The commit from which a release looks for changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The commit; `None`: the beginning of the history.
    pub from: Option<Commit>,
    /// Why the release starts at the beginning.
    pub why: Option<String>,
}

impl Baseline {
    /// Reads and validates `.state/baseline.sha`.
    pub fn find(git: &Git, state: &ReleaseState, head: &Commit) -> anyhow::Result<Self> {
        let beginning = |why: String| Ok(Self { from: None, why: Some(why) });
        let Some(text) = state.baseline()? else {
            return beginning("there is no .state/baseline.sha yet".to_owned());
        };
        let Some(commit) = Commit::parse(&text) else {
            return beginning(format!(".state/baseline.sha names no commit: {:?}", text::line(&text)));
        };
        let short = commit.short();
        if !git.has(&commit)? {
            let hint = if git.is_shallow()? {
                "of this shallow clone; clone the whole history (actions/checkout: fetch-depth: 0)"
            } else {
                "of this repository"
            };
            return beginning(format!("the baseline {short} is no commit {hint}"));
        }
        if !git.is_ancestor(&commit, head)? {
            return beginning(format!("the baseline {short} is not in the history of {}", head.short()));
        }
        Ok(Self { from: Some(commit), why: None })
    }

    /// Lists the paths that changed since the baseline.
    pub fn changes(&self, git: &Git, head: &Commit) -> anyhow::Result<ChangedPaths> {
        match &self.from {
            None => Ok(ChangedPaths::All),
            Some(from) => git.changed(from, head).map(ChangedPaths::Of),
        }
    }
}
