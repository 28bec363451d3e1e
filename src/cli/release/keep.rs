//! What a release keeps in git: `.state` as a commit, tags of what was delivered, and both pushed.
//!
//! Invariant: nothing but `.state` is ever committed, and nothing that others pushed is overwritten. What two releases wrote at
//! once is merged by what it says, never by its lines.

use std::collections::BTreeSet;

use crate::cli::release::arguments::Arguments;
use crate::cli::release::folder::Key;
use crate::cli::release::git::{Commit, Git};
use crate::cli::release::outcome::ReleaseReport;
use crate::cli::release::state::State;
use anyhow::{Context as _, bail, ensure};

/// Pushes at most, when others push meanwhile.
const PUSH_ATTEMPTS_MAX: usize = 5;
/// Where tags are.
const TAGS: &str = "refs/tags/";
/// What became of what could not be pushed.
const LEFT: &str = "failed to push; what is committed and tagged stays, push it by hand";

/// Keeps what is asked for.
pub fn keep(arguments: &Arguments, git: &Git, state: &State, report: &mut ReleaseReport) -> anyhow::Result<()> {
    if arguments.commit || arguments.push {
        commit(git, state, &report.commit).context("failed to commit .state, which is as it should be")?;
    }
    // Before tags are made: what another release pushed may name the commit of one.
    let remote = if arguments.push { Some(push_branch(git, state).context(LEFT)?) } else { None };
    if arguments.tag {
        if let Some(remote) = &remote {
            // Tags that were moved stay as they are here, and are refused there.
            let _ = git.read(&["fetch", "--quiet", remote, &format!("{TAGS}*:{TAGS}*")]);
        }
        let made = tag(git, state, report).context("failed to tag what was delivered")?;
        if let Some(remote) = remote.filter(|_| !made.is_empty()) {
            let tags = made.iter().map(String::as_str);
            git.read(&["push", "--quiet", &remote].into_iter().chain(tags).collect::<Vec<_>>()).context(LEFT)?;
        }
    }
    Ok(())
}

fn commit(git: &Git, state: &State, released: &Commit) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for path in state.files() {
        // One that a migration removed is known to git alone.
        if git.root().join(path).exists() || git.holds(&["ls-files", "--error-unmatch", "--", path])? {
            known.push(path.as_str());
        }
    }
    if !known.is_empty() {
        git.commit(&known, &format!("Record the release of {}", released.short()))?;
    }
    Ok(())
}

/// Tags what was delivered and has no tag yet, each at the commit whose release noted it: also what a run left that was killed.
fn tag(git: &Git, state: &State, report: &mut ReleaseReport) -> anyhow::Result<Vec<String>> {
    let listed = git.read(&["for-each-ref", "--format=%(refname)", TAGS])?;
    let there: BTreeSet<&[u8]> = listed.split(|byte| *byte == b'\n').collect();
    let (mut made, mut orders) = (Vec::new(), String::new());
    for (name, entry) in state.delivered()?.versions {
        let (Some(key), Some(at)) = (Key::parse_written(&name), Commit::parse(&entry.commit)) else { continue };
        let tag = format!("{TAGS}{}/v{}", key.policy, key.label);
        if there.contains(tag.as_bytes()) {
            continue;
        }
        // What comes from a file is checked before git is given it: a label may be no name of a tag (`1.0.0-a.lock`).
        if git.has(&at)? && git.holds(&["check-ref-format", &tag])? {
            orders.push_str(&format!("create {tag} {}\n", at.as_str()));
            made.push(tag);
        } else {
            report.notes.push(format!("{key} is not tagged: its commit is not here, or git takes no such tag"));
        }
    }
    git.feed(&["update-ref", "--stdin"], orders.as_bytes())?;
    if !made.is_empty() {
        report.notes.push(match made.len() {
            1 => "1 tag was made".to_owned(),
            tags => format!("{tags} tags were made"),
        });
    }
    Ok(made)
}

/// Pushes the branch; answers where to. What others pushed meanwhile comes first.
fn push_branch(git: &Git, state: &State) -> anyhow::Result<String> {
    let branch = git.line(&["symbolic-ref", "--quiet", "--short", "HEAD"]).context("HEAD is no branch")?;
    let setting = |name: &str, otherwise: String| {
        git.line(&["config", "--get", &format!("branch.{branch}.{name}")]).unwrap_or(otherwise)
    };
    let (remote, merge) = (setting("remote", "origin".to_owned()), setting("merge", format!("refs/heads/{branch}")));
    let target = format!("HEAD:{merge}");
    for left in (0..PUSH_ATTEMPTS_MAX).rev() {
        match git.read(&["push", "--quiet", &remote, &target]) {
            Ok(_) => break,
            Err(error) if left == 0 => return Err(error),
            // It may have been refused because somebody was faster; if not, the next one says so.
            Err(_) => take_over(git, state, &remote, &merge)?,
        }
    }
    Ok(remote)
}

/// Merges what was pushed meanwhile. Commits keep their ids: the baseline and the tags name them.
fn take_over(git: &Git, state: &State, remote: &str, merge: &str) -> anyhow::Result<()> {
    git.read(&["fetch", "--quiet", remote, merge])?;
    let theirs = git.line(&["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"])?;
    let message = "Merge what was pushed during a release";
    if git.read(&["merge", "--quiet", "--autostash", "-m", message, &theirs]).is_ok() {
        return Ok(());
    }
    let resolved = resolve(git, state, &theirs);
    if resolved.is_err() {
        git.read(&["merge", "--abort"])?;
    }
    resolved
}

/// Ends a merge whose conflicts are in `.state` alone.
fn resolve(git: &Git, state: &State, theirs: &str) -> anyhow::Result<()> {
    let unmerged = git.read(&["diff", "--name-only", "--diff-filter=U", "-z"])?;
    let unmerged = unmerged.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    let unmerged: Vec<String> = unmerged.map(|path| String::from_utf8_lossy(path).into_owned()).collect();
    ensure!(!unmerged.is_empty(), "git can't merge what was pushed meanwhile");
    if let Some(other) = unmerged.iter().find(|path| !state.files().contains(path)) {
        bail!("{other} conflicts with what was pushed meanwhile");
    }
    let [baseline, delivered] = state.files();
    let side = |commit: &str, path: &str| git.read(&["cat-file", "blob", &format!("{commit}:{path}")]).ok();
    let at = |commit: &str| Commit::parse(String::from_utf8_lossy(&side(commit, baseline)?).trim());
    state.merge(git, ["HEAD", theirs].map(at), ["HEAD", theirs].map(|commit| side(commit, delivered)))?;
    let there = state.files().iter().map(String::as_str).filter(|path| git.root().join(path).exists());
    git.read(&["add", "--force", "--"].into_iter().chain(there).collect::<Vec<_>>())?;
    git.read(&["commit", "--quiet", "--no-edit"])?;
    Ok(())
}
