//! Writes a file beside its final path and moves it there when it is complete, or removes it.
//!
//! Boundary: names, modes, flushes. Invariant: after `put` the file is on disk under its name; before, the former file is
//! untouched; when dropped before `put`, it is removed. Only a kill leaves a file, which the next one of the same name reuses.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::domain::digest::Digest;
use crate::signing::Running;

/// Suffixes of the files that SQLite keeps beside a database.
pub const SQLITE_COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Bytes read or written at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Mode of a file that only its owner may read.
const PRIVATE: u32 = 0o600;

/// A file was written under its name, but the name may be lost in a power cut.
#[derive(Debug, thiserror::Error)]
#[error("{} is written, but its directory could not be flushed: {error}", path.display())]
pub struct NameNotFlushed {
    path: PathBuf,
    error: io::Error,
}

/// A file that does not have its final name yet.
#[derive(Debug)]
pub struct Unfinished {
    path: PathBuf,
    /// Locked, so that two processes do not write into the same file.
    file: File,
    is_put: bool,
}

impl Unfinished {
    /// Creates an empty file at `path` for its owner alone, whatever the umask is. Only a kill can have left a file there.
    ///
    /// # Errors
    /// The file can't be made, or another process is writing it.
    pub fn make(path: PathBuf) -> Result<Self> {
        let failed = || format!("failed to make {}", path.display());
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(PRIVATE).open(&path);
        let file = file.with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another policyhub is writing {}: wait for it", path.display()),
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        // The former holder of the lock may have moved the file since it was opened here.
        let (opened, there) = (file.metadata().with_context(failed)?, fs::metadata(&path).with_context(failed)?);
        anyhow::ensure!(is_same(&opened, &there), "another policyhub has just written {}: try again", path.display());
        let made = Self { path, file, is_put: false };
        made.file.set_len(0).context("failed to empty a file that was left behind")?;
        made.file.set_permissions(Permissions::from_mode(PRIVATE)).context("failed to make the file private")?;
        remove_companions(&made.path)?;
        Ok(made)
    }

    /// The path at which the file is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fills the file with the bytes of another one; returns their number and digest. Calls `done` with the number so far.
    ///
    /// # Errors
    /// One of the files can't be read or written.
    pub fn fill_from(&mut self, from: &Path, done: &dyn Fn(u64)) -> io::Result<(u64, Digest)> {
        let mut bytes = 0;
        let digest = read_to_end(&mut File::open(from)?, |chunk| {
            self.file.write_all(chunk)?;
            bytes += chunk.len() as u64;
            done(bytes);
            Ok(())
        })?;
        Ok((bytes, digest))
    }

    /// Gives the file the owner of another file. Only root can, and only then the owner differs.
    ///
    /// # Errors
    /// The owner can't be changed.
    pub fn give_to_owner_of(&self, other: &Path) -> io::Result<()> {
        let (own, other) = (self.file.metadata()?, fs::metadata(other)?);
        if (own.uid(), own.gid()) == (other.uid(), other.gid()) {
            return Ok(());
        }
        std::os::unix::fs::fchown(&self.file, Some(other.uid()), Some(other.gid()))
    }

    /// Flushes the file, without moving it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Flushes the file and moves it durably to `to`, replacing what is there.
    ///
    /// # Errors
    /// `NameNotFlushed` when the file is there but may be lost in a power cut; with any other error the former file is still there.
    pub fn put(mut self, to: &Path) -> Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, to)?;
        self.is_put = true;
        sync_directory_of(to).map_err(|error| NameNotFlushed { path: to.to_owned(), error })?;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_put {
            // A file that can't be removed is reused by the next one.
            let _ = fs::remove_file(&self.path);
            let _ = remove_companions(&self.path);
        }
    }
}

/// Returns the path with a suffix added to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes the files that SQLite keeps beside a database.
///
/// # Errors
/// A file exists and can't be removed.
pub fn remove_companions(database: &Path) -> Result<()> {
    for suffix in SQLITE_COMPANIONS {
        let path = with_suffix(database, suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("failed to remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Flushes the directory of `path`, so that a change of a name survives a power cut.
///
/// # Errors
/// The disk fails.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Returns the digest of a file.
///
/// # Errors
/// The file can't be read.
pub fn digest_of(file: &mut File) -> io::Result<Digest> {
    read_to_end(file, |_| Ok(()))
}

/// Reads a file to its end, passes each part of it to `take`, and returns its digest.
fn read_to_end(file: &mut File, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Digest> {
    let (mut running, mut buffer) = (Running::default(), vec![0; CHUNK_BYTES]);
    loop {
        let length = file.read(&mut buffer)?;
        match buffer.get(..length) {
            Some([]) | None => return Ok(running.digest()),
            Some(chunk) => {
                take(chunk)?;
                running.update(chunk);
            }
        }
    }
}

/// Returns whether two paths lead to one file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((fs::metadata(one), fs::metadata(other)), (Ok(one), Ok(other)) if is_same(&one, &other))
}

fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
