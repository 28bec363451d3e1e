//! Keeps `.state`: what was delivered, and the commit from which changes are looked for.
//!
//! Invariant: each file is complete, old or new, whenever a run is killed. Each write is made under a lock, from what is on disk at
//! that moment: two concurrent releases lose nothing of each other's. The lock lies in git's own directory and is released when its
//! process ends.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::cli::release::delivered_file::{Delivered, DeliveredFile, merged, parse, to_bytes};
use crate::cli::release::git::{Commit, Git};
use crate::client::durable::replace_file;
use crate::client::name::NamespaceId;
use crate::domain::limits::RELEASE_STATE_MAX_BYTES;

const BASELINE: &str = "baseline.sha";
const DELIVERED: &str = "delivered.json";
const LOCK: &str = "policyhub-release.lock";
/// Longest baseline that is read: an id and a line end.
const BASELINE_MAX_BYTES: u64 = 128;

/// `.state` of a repository.
#[derive(Debug)]
pub struct ReleaseState {
    directory: PathBuf,
    files: [String; 2],
    lock: PathBuf,
    namespace: NamespaceId,
}

impl ReleaseState {
    /// Opens the state of a repository for releases into a namespace. Creates no file.
    ///
    /// # Errors
    /// `.state` leads elsewhere by a link.
    pub fn of(git: &Git, namespace: &NamespaceId) -> anyhow::Result<Self> {
        let path = git.state_path();
        let directory = git.root().join(&path);
        // Anybody may have written the repository: nothing is read or written where a link leads.
        let above = directory.ancestors().take_while(|above| *above != git.root()).map(Path::to_owned);
        for path in above.chain([directory.join(BASELINE), directory.join(DELIVERED)]) {
            let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
            ensure!(!is_link, "{} is a symbolic link: it is not followed", path.display());
        }
        let files = [BASELINE, DELIVERED].map(|name| format!("{path}/{name}"));
        Ok(Self { directory, files, lock: git.private_directory()?.join(LOCK), namespace: namespace.clone() })
    }

    /// Returns the paths that git is asked to commit, from the top of the working tree: baseline, and what was delivered.
    pub fn files(&self) -> &[String; 2] {
        &self.files
    }

    /// Returns the start of `baseline.sha`; `None` when there is no such file.
    pub fn baseline(&self) -> anyhow::Result<Option<String>> {
        let bytes = read(&self.directory.join(BASELINE), BASELINE_MAX_BYTES)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    /// Returns what was delivered.
    ///
    /// # Errors
    /// The file can't be read, or is of another namespace.
    pub fn delivered(&self) -> anyhow::Result<DeliveredFile> {
        let path = self.directory.join(DELIVERED);
        let Some(bytes) = read(&path, RELEASE_STATE_MAX_BYTES + 1)? else { return Ok(DeliveredFile::default()) };
        let is_small = bytes.len() as u64 <= RELEASE_STATE_MAX_BYTES;
        ensure!(is_small, "{} is over {RELEASE_STATE_MAX_BYTES} bytes", path.display());
        parse(&bytes, &self.namespace).with_context(|| format!("failed to read {}", path.display()))
    }

    /// Adds entries to what was delivered, replacing those of the same versions.
    pub fn record(&self, more: Delivered) -> anyhow::Result<()> {
        if more.is_empty() {
            return Ok(());
        }
        let _lock = self.locked()?;
        let before = self.delivered()?.versions;
        let mut versions = before.clone();
        versions.extend(more);
        if versions == before { Ok(()) } else { self.write(versions) }
    }

    /// Rewrites a file of another form in that of this program. Its deliveries are not taken over, since the server says what it
    /// has. The baseline is removed: the server may not know the versions before it.
    pub fn migrate(&self) -> anyhow::Result<()> {
        let _lock = self.locked()?;
        let DeliveredFile { foreign: Some(_), versions } = self.delivered()? else { return Ok(()) };
        // The baseline goes first: a run that is killed between the two writes migrates again, from the beginning.
        let path = self.directory.join(BASELINE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("failed to remove {}", path.display()))
            }
            _ => self.write(versions),
        }
    }

    /// Merges what two concurrent releases wrote, ours and theirs: both deliveries, and the later baseline.
    pub fn merge(
        &self,
        git: &Git,
        baselines: [Option<Commit>; 2],
        delivered: [Option<Vec<u8>>; 2],
    ) -> anyhow::Result<()> {
        let read = |bytes: Option<Vec<u8>>| -> anyhow::Result<Delivered> {
            let Some(bytes) = bytes else { return Ok(Delivered::new()) };
            Ok(parse(&bytes, &self.namespace).context("failed to read a delivered.json that is to be merged")?.versions)
        };
        let [ours, theirs] = delivered;
        let _lock = self.locked()?;
        self.write(merged(read(theirs)?, read(ours)?))?;
        // When neither is an ancestor of the other, either is right: what changed since then is checked again.
        let baseline = match baselines {
            [Some(ours), Some(theirs)] if git.is_ancestor(&ours, &theirs)? => theirs,
            [Some(one), _] | [None, Some(one)] => one,
            [None, None] => return Ok(()),
        };
        self.replace(BASELINE, format!("{}\n", baseline.as_str()).as_bytes())
    }

    fn write(&self, versions: Delivered) -> anyhow::Result<()> {
        self.replace(DELIVERED, &to_bytes(&self.namespace, versions)?)
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

/// Reads a file up to a limit in bytes; `None` when it does not exist.
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
