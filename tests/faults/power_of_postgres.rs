//! The power of PostgreSQL's machine: a disk that keeps what was synced, and the power cut.
//!
//! The shim (`power_cut_postgres.c`) is preloaded into every process of the cluster while a schedule has a power cut.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use super::database::{Postgres, copy_directory};
use super::power_cut::shim;

/// Size of a segment of the write-ahead log, in MiB.
const SEGMENT_MIB: u32 = 1;
/// Makes the shim readable: PostgreSQL runs as another user when the tests run as root.
const READABLE_BY_ALL: u32 = 0o755;

impl Postgres {
    fn copies(&self) -> PathBuf {
        self.data.with_file_name("synced")
    }

    /// Puts the cluster on a disk that keeps what is synced from now on. What is there now is durable, because the cluster is stopped in
    /// order. Its write-ahead log uses the smallest segments: each sync copies one.
    ///
    /// # Errors
    /// When the disk can't be made.
    pub fn mount_power_cut(&self) -> Result<(), String> {
        let object = self.data.with_file_name("power_cut_postgres.so");
        let failed = |error: io::Error| error.to_string();
        fs::copy(shim("power_cut_postgres"), &object).map_err(failed)?;
        fs::set_permissions(&object, fs::Permissions::from_mode(READABLE_BY_ALL)).map_err(failed)?;
        let data = self.data.display().to_string();
        self.run("pg_ctl", &["stop", "-s", "-w", "-m", "fast", "-D", &data])?;
        self.run("pg_resetwal", &[&format!("--wal-segsize={SEGMENT_MIB}"), "-D", &data])?;
        copy_directory(&self.data, &self.copies())?;
        *self.environment.lock().expect("the environment") =
            vec![("LD_PRELOAD", object), ("POWER_CUT_TREE", self.data.clone()), ("POWER_CUT_COPIES", self.copies())];
        self.start_again();
        Ok(())
    }

    /// Removes the cluster from that disk, so that it starts normally.
    pub fn unmount_power_cut(&self) {
        let was = std::mem::take(&mut *self.environment.lock().expect("the environment"));
        if !was.is_empty() {
            self.kill();
            self.start_again();
            let _ = fs::remove_dir_all(self.copies());
        }
    }

    /// Kills every process and reverts every file to its last sync. Returns how many files lost bytes by that.
    ///
    /// # Errors
    /// When the disk is not mounted, or can't be read or written.
    pub fn cut_power(&self) -> Result<usize, String> {
        if self.environment.lock().expect("the environment").is_empty() {
            return Err("nothing was mounted under PostgreSQL".to_owned());
        }
        self.kill();
        revert(&self.data, &self.copies()).map_err(|error| error.to_string())
    }
}

/// Replaces every file of a tree by its copy; one without a copy is removed.
fn revert(tree: &Path, copies: &Path) -> io::Result<usize> {
    let (mut held, mut synced) = (BTreeSet::new(), BTreeSet::new());
    files(tree, tree, &mut held)?;
    files(copies, copies, &mut synced)?;
    let owner = fs::metadata(tree)?;
    let mut lost = 0;
    for name in held.difference(&synced) {
        lost += usize::from(fs::metadata(tree.join(name))?.len() > 0);
        fs::remove_file(tree.join(name))?;
    }
    // A copy that was unfinished when its process was killed does not count.
    let finished = |name: &&PathBuf| !name.to_string_lossy().contains(".unfinished-");
    for name in synced.iter().filter(finished) {
        let (file, bytes) = (tree.join(name), fs::read(copies.join(name))?);
        if fs::read(&file).ok().as_ref() == Some(&bytes) {
            continue;
        }
        lost += 1;
        if let Some(parent) = file.parent().filter(|parent| parent.exists()) {
            fs::write(parent.join(file.file_name().unwrap_or_default()), bytes)?;
            chown(&file, Some(owner.uid()), Some(owner.gid()))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
    }
    for name in synced.iter().filter(|name| !finished(name)) {
        fs::remove_file(copies.join(name))?;
    }
    Ok(lost)
}

/// Finds the names of all files below a directory, relative to its root.
fn files(root: &Path, directory: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_dir() {
            files(root, &path, found)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            found.insert(name.to_owned());
        }
    }
    Ok(())
}
