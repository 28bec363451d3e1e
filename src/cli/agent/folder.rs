//! Manages the folder of an agent: sets, the link to the one in force, and which one was accepted last.
//!
//! Boundary: files only; the caller has hooks and the server. Invariants: one process holds a folder; the link always leads to a
//! complete set, and moves atomically.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use crate::cli::agent::directory;
use crate::cli::agent::set::{Candidate, Index};
use crate::client::durable::{replace_file, sync_directory_of};

/// Name of the link to the set in force.
const CURRENT: &str = "current";
/// Directory of the sets.
const SETS: &str = "sets";
/// Directory of the agent's private files.
const PRIVATE: &str = ".agent";

/// A folder that this process has locked.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    keep: usize,
    _lock: Arc<FolderLock>,
}

/// A set that is in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: Index,
}

/// The lock of a folder, held until it is dropped.
#[derive(Debug)]
struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is being started has a copy of the descriptor until it runs its program.
        let _ = self.0.unlock();
    }
}

impl Folder {
    /// Locks a folder, creates it when it is absent, and removes what a killed process left.
    ///
    /// # Errors
    /// Another agent holds it, something else is in the place of a link, or the disk fails.
    pub fn open(directory: &Path, keep: usize) -> anyhow::Result<Self> {
        let make = |path: &Path| fs::create_dir_all(path).with_context(|| format!("failed to make {}", path.display()));
        make(directory)?;
        // A link to the folder may be moved while the agent runs: the agent stays in the folder it started in.
        let root = directory.canonicalize().with_context(|| format!("failed to find {}", directory.display()))?;
        make(&root.join(PRIVATE))?;
        let lock = Arc::new(lock(&root.join(PRIVATE).join("lock"))?);
        make(&root.join(SETS))?;
        let folder = Self { root, keep, _lock: lock };
        let current = folder.root.join(CURRENT);
        if fs::symlink_metadata(&current).is_ok_and(|found| !found.is_symlink()) {
            anyhow::bail!("{} is not a link: give the agent a folder of its own", current.display());
        }
        directory::remove_drafts(&folder.sets())
            .with_context(|| format!("failed to clean {}", folder.sets().display()))?;
        Ok(folder)
    }

    /// Returns the real path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the watcher keeps its last-known-good set.
    pub fn watcher_directory(&self) -> PathBuf {
        self.private_path("watcher")
    }

    /// Returns the path of a private file of the agent.
    pub fn private_path(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE).join(name)
    }

    /// Returns the subscriber id of this folder, which stays the same over restarts.
    ///
    /// # Errors
    /// The disk fails.
    pub fn own_id(&self) -> anyhow::Result<String> {
        let path = self.private_path("subscriber-id");
        match fs::read_to_string(&path) {
            Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to read {}", path.display()));
            }
            _ => {}
        }
        let id = format!("agent-{}", uuid::Uuid::now_v7());
        replace_file(&path, format!("{id}\n").as_bytes())
            .with_context(|| format!("failed to write {}", path.display()))?;
        Ok(id)
    }

    /// Returns the directory of a set.
    pub fn place(&self, name: &str) -> PathBuf {
        self.sets().join(name)
    }

    /// Returns the set that the link leads to; `None` without a link, or when its target is not an intact set.
    pub fn current(&self) -> anyhow::Result<Option<Held>> {
        let link = match fs::read_link(self.root.join(CURRENT)) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("failed to read the link to the set in force"),
        };
        let name = link.strip_prefix(SETS).ok().and_then(Path::to_str).filter(|name| directory::is_name(name));
        let name = name.with_context(|| format!("link leads to {}, which is no set", link.display()))?;
        let index = directory::read(&self.place(name)).with_context(|| format!("set {name} is damaged"))?;
        Ok(Some(Held { name: name.to_owned(), index }))
    }

    /// Returns the name of the set that was accepted last.
    pub fn accepted(&self) -> Option<String> {
        let name = fs::read_to_string(self.accepted_path()).ok()?;
        Some(name.trim_end().to_owned()).filter(|name| directory::is_name(name))
    }

    /// Returns the set of this name when its files are unchanged.
    pub fn held(&self, name: &str) -> Option<Held> {
        let index = directory::read(&self.place(name)).ok()?;
        Some(Held { name: name.to_owned(), index })
    }

    /// Returns whether the contents of a set are the same as another's, apart from the cursor.
    pub fn is_same(&self, held: &Held, set: &Candidate) -> bool {
        directory::holds(&self.place(&held.name), set, false)
    }

    /// Writes a set beside the one in force; returns its name.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&self, set: &Candidate, former: Option<&str>) -> anyhow::Result<String> {
        directory::write(&self.sets(), set, former)
    }

    /// Puts a set in force; `None`: removes the link, as at the beginning.
    ///
    /// # Errors
    /// The disk fails. A reader finds the old or the new set.
    pub fn put_in_force(&self, name: Option<&str>) -> anyhow::Result<()> {
        let (link, draft) = (self.root.join(CURRENT), self.private_path("next"));
        let moved = || -> io::Result<()> {
            remove_whatever(&draft)?;
            match name {
                Some(name) => {
                    symlink(Path::new(SETS).join(name), &draft)?;
                    fs::rename(&draft, &link)?;
                }
                None => remove_file(&link)?,
            }
            sync_directory_of(&link)
        };
        moved().with_context(|| format!("failed to move {}", link.display()))
    }

    /// Records that a set was accepted.
    ///
    /// # Errors
    /// The disk fails.
    pub fn accept(&self, name: &str) -> anyhow::Result<()> {
        let path = self.accepted_path();
        replace_file(&path, format!("{name}\n").as_bytes())
            .with_context(|| format!("failed to write {}", path.display()))
    }

    /// Removes a set that was refused before it was in force.
    ///
    /// # Errors
    /// The disk fails.
    pub fn discard(&self, name: &str) -> anyhow::Result<()> {
        directory::retire(&self.sets(), name).with_context(|| format!("failed to remove set {name}"))
    }

    /// Removes all but the newest sets; those in `held` stay.
    ///
    /// # Errors
    /// The disk fails.
    pub fn tidy(&self, held: &[String]) -> anyhow::Result<()> {
        directory::remove_old(&self.sets(), self.keep, held).context("failed to remove old sets")
    }

    fn sets(&self) -> PathBuf {
        self.root.join(SETS)
    }

    fn accepted_path(&self) -> PathBuf {
        self.private_path("accepted")
    }
}

fn lock(path: &Path) -> anyhow::Result<FolderLock> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.with_context(|| format!("failed to open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another agent keeps this folder ({} is locked)", path.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("failed to lock {}", path.display())),
    }
}

/// Removes anything at a path that the agent needs, directories included: one would block the agent forever.
fn remove_whatever(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return fs::remove_dir_all(path);
    }
    remove_file(path)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::cli::agent::samples::{folder, set};

    #[test]
    fn one_agent_keeps_a_folder_also_by_a_link() {
        let home = tempfile::tempdir().expect("a directory");
        let (real, link) = (home.path().join("real"), home.path().join("link"));
        let first = folder(&real);
        symlink(&real, &link).expect("a link");
        for path in [&real, &link] {
            let error = Folder::open(path, 3).expect_err("taken");
            assert!(error.to_string().contains("another agent"), "{error}");
        }
        drop(first);
        assert_eq!(folder(&link).root(), real.canonicalize().expect("there"));
    }

    #[test]
    fn what_is_no_link_is_not_replaced() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join(CURRENT)).expect("made");
        assert!(Folder::open(home.path(), 3).is_err());
        assert!(home.path().join(CURRENT).is_dir());
    }

    #[test]
    fn the_link_leads_to_what_was_put_in_force() {
        let home = tempfile::tempdir().expect("a directory");
        let folder = folder(home.path());
        assert_eq!(folder.current().expect("read"), None);
        let name = folder.write(&set(7, &[("a", 1)]), None).expect("written");
        folder.put_in_force(Some(&name)).expect("moved");
        let link = fs::read_link(home.path().join("current")).expect("a link");
        assert_eq!(link, Path::new("sets").join(&name), "relative: a folder may be mounted elsewhere");
        assert_eq!(folder.current().expect("read").expect("a set").name, name);
        assert_eq!(folder.accepted(), None);
        folder.accept(&name).expect("accepted");
        assert_eq!(folder.accepted(), Some(name));
        folder.put_in_force(None).expect("moved");
        folder.put_in_force(None).expect("nothing to do");
        assert_eq!(folder.current().expect("read"), None);
    }

    #[test]
    fn what_stands_in_the_way_of_the_next_link_is_removed() {
        let home = tempfile::tempdir().expect("a directory");
        let folder = folder(home.path());
        let name = folder.write(&set(7, &[("a", 1)]), None).expect("written");
        let next = home.path().join(PRIVATE).join("next");
        fs::create_dir_all(next.join("inner")).expect("made");
        folder.put_in_force(Some(&name)).expect("moved");
        fs::create_dir(&next).expect("made");
        folder.put_in_force(None).expect("moved");
        assert!(folder.current().expect("read").is_none() && !next.exists());
    }

    #[test]
    fn a_link_to_something_else_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        let folder = folder(home.path());
        for target in ["sets/1-7-0123abcd", "sets/../../etc", "elsewhere"] {
            symlink(target, home.path().join(CURRENT)).expect("a link");
            assert!(folder.current().is_err(), "{target}");
            fs::remove_file(home.path().join(CURRENT)).expect("removed");
        }
    }

    #[test]
    fn an_id_is_made_once() {
        let home = tempfile::tempdir().expect("a directory");
        let id = folder(home.path()).own_id().expect("an id");
        assert_eq!(folder(home.path()).own_id().expect("an id"), id);
    }

    /// Given a link that moves all the time, when a runtime resolves it once, then it reads one complete set.
    #[test]
    fn whoever_reads_finds_one_whole_set() {
        let home = tempfile::tempdir().expect("a directory");
        let folder = folder(home.path());
        let current = home.path().join(CURRENT);
        let put = |revision: i64| {
            let former = folder.accepted();
            let new = set(revision, &[("a", revision), ("b", revision), ("c", 1)]);
            let name = folder.write(&new, former.as_deref()).expect("written");
            folder.put_in_force(Some(&name)).expect("moved");
            folder.accept(&name).expect("accepted");
            folder.tidy(&[name]).expect("tidy");
        };
        put(1);
        let over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    assert!(current.is_symlink(), "there is always a link");
                    // The set was removed since, because the link moved as often as sets are kept: resolve it again.
                    let Ok(place) = current.canonicalize() else { continue };
                    let Ok(index) = directory::read(&place) else {
                        assert!(!place.exists(), "{} is not whole", place.display());
                        continue;
                    };
                    let versions: BTreeSet<i64> = index.policies.iter().take(2).map(|entry| entry.version).collect();
                    assert_eq!(versions, BTreeSet::from([index.cursor.revision]), "one set, not two");
                    seen.insert(index.cursor.revision);
                }
                seen
            });
            (2..=300).for_each(put);
            over.store(true, Ordering::Relaxed);
            reader.join().expect("the reader found whole sets only")
        });
        assert!(seen.len() > 1, "the reader saw the link move");
        assert_eq!(fs::read_dir(home.path().join(SETS)).expect("listed").count(), 3);
    }
}
