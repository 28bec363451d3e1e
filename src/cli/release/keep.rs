//! Records a release in git: `.state` as a commit, tags of what was delivered, and both pushed.
//!
//! Invariant: nothing but `.state` is ever committed, and nothing that others pushed is overwritten. `.state` of two concurrent
//! releases is merged by its content, never by lines.

use std::collections::BTreeSet;

use crate::cli::release::arguments::ReleaseArguments;
use crate::cli::release::folder::FolderVersion;
use crate::cli::release::git::{Commit, Git};
use crate::cli::release::outcome::ReleaseReport;
use crate::cli::release::state::ReleaseState;
use crate::domain::counted_noun::counted_noun;
use anyhow::{Context as _, bail, ensure};

/// Most attempts to push while others push too.
const PUSH_ATTEMPTS_MAX: usize = 5;
/// Prefix of the refs of tags.
const TAGS: &str = "refs/tags/";
/// Tells the user what happened to commits and tags that could not be pushed.
const LEFT: &str = "failed to push; what is committed and tagged stays, push it by hand";

/// Commits, tags and pushes as the arguments ask.
pub fn keep(
    arguments: &ReleaseArguments,
    git: &Git,
    state: &ReleaseState,
    report: &mut ReleaseReport,
) -> anyhow::Result<()> {
    if arguments.commit || arguments.push {
        commit(git, state, &report.commit).context("failed to commit .state, which is as it should be")?;
    }
    // Push before making tags: a tag may point at a commit that another release pushed.
    let remote = if arguments.push { Some(push_branch(git, state).context(LEFT)?) } else { None };
    if arguments.tag {
        if let Some(remote) = &remote {
            // A tag that was moved stays as it is here; the remote refuses it.
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

fn commit(git: &Git, state: &ReleaseState, released: &Commit) -> anyhow::Result<()> {
    let mut known = Vec::new();
    for path in state.files() {
        // Only git still knows a file that a migration removed.
        if git.root().join(path).exists() || git.holds(&["ls-files", "--error-unmatch", "--", path])? {
            known.push(path.as_str());
        }
    }
    if !known.is_empty() {
        git.commit(&known, &format!("Record the release of {}", released.short()))?;
    }
    Ok(())
}

/// Tags each version that was delivered and has no tag yet, at the commit whose release recorded it; also those of a run that was killed.
fn tag(git: &Git, state: &ReleaseState, report: &mut ReleaseReport) -> anyhow::Result<Vec<String>> {
    let listed = git.read(&["for-each-ref", "--format=%(refname)", TAGS])?;
    let there: BTreeSet<&[u8]> = listed.split(|byte| *byte == b'\n').collect();
    let (mut made, mut orders) = (Vec::new(), String::new());
    for (name, entry) in state.delivered()?.versions {
        let (Some(key), Some(at)) = (FolderVersion::parse_written(&name), Commit::parse(&entry.commit)) else {
            continue;
        };
        let tag = format!("{TAGS}{}/v{}", key.policy, key.label);
        if there.contains(tag.as_bytes()) {
            continue;
        }
        // The file is untrusted, so check before passing it to git: a label may be invalid as the name of a tag (`1.0.0-a.lock`).
        if git.has(&at)? && git.holds(&["check-ref-format", &tag])? {
            orders.push_str(&format!("create {tag} {}\n", at.as_str()));
            made.push(tag);
        } else {
            report.notes.push(format!("{key} is not tagged: its commit is not here, or git takes no such tag"));
        }
    }
    git.feed(&["update-ref", "--stdin"], orders.as_bytes())?;
    if !made.is_empty() {
        report.notes.push(counted_noun(made.len(), "tag was made", "tags were made"));
    }
    Ok(made)
}

/// Pushes the branch and returns the remote. First merges what others pushed meanwhile.
fn push_branch(git: &Git, state: &ReleaseState) -> anyhow::Result<String> {
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
            // The push may have been refused because another one was faster; if not, the next attempt reports the reason.
            Err(_) => take_over(git, state, &remote, &merge)?,
        }
    }
    Ok(remote)
}

/// Merges what was pushed meanwhile. Commits keep their ids, since the baseline and the tags name them.
fn take_over(git: &Git, state: &ReleaseState, remote: &str, merge: &str) -> anyhow::Result<()> {
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
fn resolve(git: &Git, state: &ReleaseState, theirs: &str) -> anyhow::Result<()> {
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
