//! Finds who wrote the versions of a folder, and when: from git, from the files, or from a list.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, ensure};
use prost_types::Timestamp;

use crate::cli::content::read_at_most;
use crate::cli::output::text;
use crate::cli::release::{FolderVersion, Git, folder_of};
use crate::client::pb;
use crate::domain::annotations::Annotations;

/// Largest list of times.
const TIMES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// First byte of a commit in git's list, where paths follow.
const COMMIT: u8 = 1;
/// The member of `metadata.json` with the time when a version was written.
const CREATE_TIME: &str = "createTime";

/// The source of the times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimesFrom {
    Git,
    Metadata,
    Mtime,
    File(PathBuf),
}

impl TimesFrom {
    /// Parses `git`, `metadata`, `mtime` or the name of a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => return Err("must be git, metadata, mtime or the name of a file".to_owned()),
            "git" => Self::Git,
            "metadata" => Self::Metadata,
            "mtime" => Self::Mtime,
            file => Self::File(file.into()),
        })
    }
}

/// A commit: its author time, in seconds since the Unix epoch, and its author.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AuthoredCommit {
    seconds: i64,
    author: String,
}

/// Authors and times of the versions.
#[derive(Debug)]
pub struct Provenance {
    author: Option<String>,
    times: Times,
}

#[derive(Debug)]
enum Times {
    Unknown,
    /// By the names of the policy and version folders, as git has them.
    Commits(HashMap<Vec<u8>, AuthoredCommit>),
    Metadata,
    Mtime,
    Listed(BTreeMap<String, String>),
}

impl Provenance {
    /// Reads all times at once.
    ///
    /// # Errors
    /// There is no git, the history is shallow, or a list can't be read.
    pub fn read(folder: &Path, from: Option<&TimesFrom>, author: Option<String>) -> anyhow::Result<Self> {
        let times = match from {
            None => Times::Unknown,
            Some(TimesFrom::Metadata) => Times::Metadata,
            Some(TimesFrom::Mtime) => Times::Mtime,
            Some(TimesFrom::Git) => {
                let git = Git::open(folder, "")?;
                ensure!(
                    !git.is_shallow()?,
                    "git has a part of the history only: fetch all of it (git fetch --unshallow)"
                );
                Times::Commits(commits(&git.additions(folder)?))
            }
            Some(TimesFrom::File(file)) => {
                let bytes = read_at_most(file, TIMES_MAX_BYTES, "the list of times")?;
                let listed = serde_json::from_slice(&bytes);
                let what = || format!("{} must be one JSON object of version and time", file.display());
                Times::Listed(listed.with_context(what)?)
            }
        };
        Ok(Self { author, times })
    }

    /// Returns the provenance of a version; `definition` is its file, `annotations` are from its metadata.
    ///
    /// # Errors
    /// The author or the time is unknown; a lower-case fragment.
    pub fn of(&self, key: &FolderVersion, definition: &Path, annotations: &Annotations) -> Result<pb::Adopted, String> {
        let (author, create_time) = match &self.times {
            Times::Unknown => (None, None),
            Times::Commits(commits) => {
                let folder = format!("{}/v{}", key.policy, key.label);
                let commit = commits.get(folder.as_bytes()).ok_or("no commit of git added it")?;
                (Some(&commit.author), Some(Timestamp { seconds: commit.seconds, nanos: 0 }))
            }
            Times::Metadata => {
                let time = annotations.iter().find(|(name, _)| *name == CREATE_TIME);
                let (name, time) = time.ok_or_else(|| format!("its metadata.json has no {CREATE_TIME}"))?;
                (None, Some(text::parse_time(time).map_err(|rule| format!("{name} of its metadata.json {rule}"))?))
            }
            Times::Mtime => (None, Some(modified(definition)?)),
            Times::Listed(times) => {
                let time = times.get(&key.to_string()).ok_or("the list of times does not name it")?;
                let time = text::parse_time(time).map_err(|rule| format!("its time in the list {rule}"))?;
                (None, Some(time))
            }
        };
        let author = self.author.as_ref().or(author).cloned().unwrap_or_default();
        Ok(pb::Adopted { author, create_time })
    }
}

fn modified(file: &Path) -> Result<Timestamp, String> {
    let failed = |error: &dyn std::fmt::Display| format!("failed to read when its file was changed: {error}");
    let time = fs::metadata(file).and_then(|about| about.modified()).map_err(|error| failed(&error))?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|error| failed(&error))?;
    Ok(Timestamp { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: 0 })
}

/// Returns the first commit that added something to each version folder, from git's list, oldest first: `\x01` and seconds, the
/// author, then paths, each ended by NUL.
fn commits(listed: &[u8]) -> HashMap<Vec<u8>, AuthoredCommit> {
    let mut commits = HashMap::new();
    let mut records = listed.split(|byte| *byte == 0);
    let mut current = None;
    while let Some(record) = records.next() {
        let seconds = record.strip_prefix(&[COMMIT]).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if let Some(seconds) = seconds {
            let author = String::from_utf8_lossy(records.next().unwrap_or_default()).into_owned();
            current = Some(AuthoredCommit { seconds, author });
        } else if let Some(commit) = &current {
            let path = record.strip_prefix(b"\n").unwrap_or(record);
            if let Some((policy, version)) = folder_of(path) {
                let folder = [policy, b"/", version].concat();
                commits.entry(folder).or_insert_with(|| commit.clone());
            }
        }
    }
    commits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commit_that_added_a_folder_counts() {
        let listed = b"\x01100\0Ann\0\np/v1.0.0/a\0README\0\x01200\0Zo\xc3\xab\0\np/v1.0.0/b\0p/v1.1.0/y\nz\0\x01300\0\0\n\xff/v1.0.0/a\0";
        let commits = commits(listed);
        let of = |folder: &[u8]| commits.get(folder).map(|commit| (commit.seconds, commit.author.as_str()));
        assert_eq!(of(b"p/v1.0.0"), Some((100, "Ann")));
        assert_eq!(of(b"p/v1.1.0"), Some((200, "Zo\u{eb}")));
        assert_eq!(of(b"\xff/v1.0.0"), Some((300, "")));
        assert_eq!(commits.len(), 3);
    }

    #[test]
    fn times_come_from_git_the_files_or_a_list() {
        let of = |text: &str| TimesFrom::parse(text).ok();
        assert_eq!((of("git"), of("mtime")), (Some(TimesFrom::Git), Some(TimesFrom::Mtime)));
        assert_eq!(of("metadata"), Some(TimesFrom::Metadata));
        assert_eq!((of("times.json"), of("")), (Some(TimesFrom::File("times.json".into())), None));
    }
}
