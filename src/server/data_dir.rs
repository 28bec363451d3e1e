//! The data directory: private, and owned by one server at a time.

use std::fs::{DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::whole_file::sync_directory_of;

/// A data directory that could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("failed to make or open the data directory {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the data directory {} belongs to a policyhub that is running: stop it, or give this one another --data-dir",
        path.display()
    )]
    Taken { path: PathBuf },
}

/// The lock of a data directory, which is that of the SQLite file with the default name too.
const LOCK: &str = "policyhub.server.lock";

/// A data directory, taken until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The lock goes with the process, however it ends.
    _lock: File,
}

/// Makes a directory for its owner alone, and those above it, unless they are there. They last through a power cut.
///
/// # Errors
/// When it can't be made or flushed.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    let is_missing = |each: &&Path| !each.as_os_str().is_empty() && !each.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        match sync_directory_of(made) {
            // One that this user may enter and not read: what is above it can't be flushed by anybody here.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The file of a data directory that keeps what was seen of the logs.
#[must_use]
pub fn high_water(data_dir: &Path) -> PathBuf {
    data_dir.join("high-water.json")
}

/// Where a data directory says that nobody could tell what a restore lost, without taking it.
#[must_use]
pub fn unwitnessed(data_dir: &Path) -> PathBuf {
    data_dir.join("unwitnessed.json")
}

impl DataDir {
    /// Makes the directory when it is absent (mode 0700) and takes it.
    ///
    /// # Errors
    /// When another server has it, or it can't be written.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let failed = |error| DataDirError::Io { path: path.to_owned(), error };
        make_private_dir(path).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(DataDirError::Taken { path: path.to_owned() }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Whether a file is its own lock, under whatever name of the directory.
    #[must_use]
    pub fn is_lock(&self, file: &Path) -> bool {
        let is_here = |parent: &Path| {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            parent.canonicalize().is_ok_and(|parent| self.path.canonicalize().is_ok_and(|own| own == parent))
        };
        file.file_name().is_some_and(|name| name == LOCK) && file.parent().is_some_and(is_here)
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says where the server listens: `addr.json`, replaced at once so that nobody reads half of it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_addresses(&self, grpc: SocketAddr, http: SocketAddr) -> io::Result<()> {
        let text = serde_json::json!({"grpc": grpc.to_string(), "http": http.to_string()}).to_string();
        let new = self.path.join(".addr.json.new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, self.path.join("addr.json"))
    }

    /// Removes the addresses of a server before. A directory of that name holds none.
    ///
    /// # Errors
    /// When there are some, and they can't be removed.
    pub fn remove_addresses(&self) -> io::Result<()> {
        let path = self.path.join("addr.json");
        match std::fs::remove_file(&path) {
            Err(_) if path.is_dir() => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where what was seen of the logs is kept.
    #[must_use]
    pub fn high_water(&self) -> PathBuf {
        high_water(&self.path)
    }

    /// Where it is said that nobody could tell what a restore lost.
    #[must_use]
    pub fn unwitnessed(&self) -> PathBuf {
        unwitnessed(&self.path)
    }

    /// Which namespaces are frozen, and why.
    #[must_use]
    pub fn frozen(&self) -> PathBuf {
        self.path.join("frozen.json")
    }

    /// Where the admin's token is.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        self.path.join("admin.token")
    }
}
