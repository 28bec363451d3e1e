//! `.state`: what was delivered, and from which commit on to look for changes.
//!
//! Invariant: each file is whole, old or new, whenever a run is killed. Each write is made under a lock, from what is on the
//! disk at that moment: two releases at once lose nothing of each other's. The lock lies in git's own directory, and goes
//! with its process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::folder::Key;
use super::git::{Commit, Git};
use crate::client::durable::replace_file;
use crate::client::name::NamespaceId;
use crate::domain::digest::Digest;
use crate::domain::limits::RELEASE_STATE_MAX_BYTES;

const DIRECTORY: &str = ".state";
const BASELINE: &str = "baseline.sha";
const DELIVERED: &str = "delivered.json";
const LOCK: &str = "policyhub-release.lock";
/// What git is asked to commit.
pub const FILES: [&str; 2] = [".state/baseline.sha", ".state/delivered.json"];
/// Of `delivered.json`, as this program writes it.
const FORMAT: u32 = 1;
/// Longest baseline that is looked at: an id, and a line's end.
const BASELINE_MAX_BYTES: u64 = 128;

/// A version that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The number that the server gave.
    pub version: i64,
    /// Of the content that the server has.
    pub digest: Digest,
    /// The commit whose release noted it.
    pub commit: String,
    /// What git called the folder then: a changed folder has another name.
    pub tree: String,
    /// That it is published and has still to be put in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
}

/// How far the activation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    Pending,
}

/// `delivered.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    namespace: NamespaceId,
    versions: BTreeMap<String, Entry>,
}

/// The versions that were delivered, by `policy@vlabel`.
pub type Delivered = BTreeMap<String, Entry>;

/// `.state` of a repository.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    lock: PathBuf,
    namespace: NamespaceId,
}

impl State {
    /// Of a repository, for releases into a namespace. Makes nothing.
    ///
    /// # Errors
    /// A `.state` that leads elsewhere.
    pub fn of(git: &Git, namespace: &NamespaceId) -> anyhow::Result<Self> {
        let directory = git.root().join(DIRECTORY);
        // What a repository holds may come from anybody: nothing is read or written where a link leads.
        for path in [directory.clone(), directory.join(BASELINE), directory.join(DELIVERED)] {
            let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
            ensure!(!is_link, "{} is a symbolic link: it is not followed", path.display());
        }
        Ok(Self { directory, lock: git.private_directory()?.join(LOCK), namespace: namespace.clone() })
    }

    /// What stands in `baseline.sha`, or its beginning; none without one.
    pub fn baseline(&self) -> anyhow::Result<Option<String>> {
        let bytes = read(&self.directory.join(BASELINE), BASELINE_MAX_BYTES)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// What was delivered.
    ///
    /// # Errors
    /// A file that can't be read, or is that of another namespace.
    pub fn delivered(&self) -> anyhow::Result<Delivered> {
        let path = self.directory.join(DELIVERED);
        let Some(bytes) = read(&path, RELEASE_STATE_MAX_BYTES + 1)? else { return Ok(Delivered::new()) };
        let is_small = bytes.len() as u64 <= RELEASE_STATE_MAX_BYTES;
        ensure!(is_small, "{} is over {RELEASE_STATE_MAX_BYTES} bytes", path.display());
        let document: Document = serde_json::from_slice(&bytes).with_context(|| {
            let path = path.display();
            format!("{path} can't be read; restore it from git, or remove it: then the server is asked for everything")
        })?;
        let Document { format, namespace, versions } = document;
        ensure!(format == FORMAT, "{} has format {format}; this program knows {FORMAT}", path.display());
        if namespace != self.namespace {
            bail!(
                "{} is that of namespace {namespace}, not {}: one repository, one namespace",
                path.display(),
                self.namespace
            );
        }
        if let Some(odd) = versions.keys().find(|key| Key::parse_written(key).is_none()) {
            bail!("{} names {odd:?}, which is no version", path.display());
        }
        Ok(versions)
    }

    /// Adds to what was delivered, over what it says of the same versions.
    pub fn record(&self, more: Delivered) -> anyhow::Result<()> {
        if more.is_empty() {
            return Ok(());
        }
        let _lock = self.locked()?;
        let before = self.delivered()?;
        let mut versions = before.clone();
        versions.extend(more);
        if versions == before {
            return Ok(());
        }
        let document = Document { format: FORMAT, namespace: self.namespace.clone(), versions };
        let mut bytes = serde_json::to_vec_pretty(&document)?;
        bytes.push(b'\n');
        self.replace(DELIVERED, &bytes)
    }

    /// Moves the baseline, unless another release has moved it further already.
    pub fn move_baseline(&self, git: &Git, to: &Commit) -> anyhow::Result<()> {
        let _lock = self.locked()?;
        if let Some(there) = self.baseline()?.as_deref().and_then(Commit::parse)
            && git.has(&there)?
            && git.is_ancestor(to, &there)?
        {
            return Ok(());
        }
        self.replace(BASELINE, format!("{}\n", to.as_str()).as_bytes())
    }

    fn locked(&self) -> anyhow::Result<File> {
        let lock = || -> io::Result<File> {
            let file = File::create(&self.lock)?;
            file.lock()?;
            Ok(file)
        };
        lock().with_context(|| format!("failed to lock {}", self.lock.display()))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.directory.join(name);
        let written = fs::create_dir_all(&self.directory).and_then(|()| replace_file(&path, bytes));
        written.with_context(|| format!("failed to write {}", path.display()))
    }
}

/// A file, or as much of it as the bound allows; none without it.
fn read(path: &Path, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        Ok(bytes) => Ok(Some(bytes)),
    }
}
