//! The data directory: private, and owned by one server at a time.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::whole_file::sync_directory_of;

/// An error on opening a data directory.
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

/// The lock of a data directory, and also of the SQLite file with the default name in it.
const LOCK: &str = "policyhub.server.lock";

/// A data directory, locked until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // The system releases the lock when the process ends.
    _lock: File,
}

/// Creates a directory for its owner alone, and missing parents, and flushes them so that they survive a power cut.
///
/// # Errors
/// A directory can't be made or flushed.
pub fn make_private_dir(path: &Path) -> io::Result<()> {
    let is_missing = |each: &&Path| !each.as_os_str().is_empty() && !each.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        match sync_directory_of(made) {
            // A directory that this user may enter but not read: what is above it can't be flushed either.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the path of the high-water marks of the logs.
#[must_use]
pub fn high_water(data_dir: &Path) -> PathBuf {
    data_dir.join("high-water.json")
}

/// Returns the path of the record that the loss of a restore is unknown, without locking the directory.
#[must_use]
pub fn unwitnessed(data_dir: &Path) -> PathBuf {
    data_dir.join("unwitnessed.json")
}

impl DataDir {
    /// Creates the directory when it is absent (mode 0700) and locks it.
    ///
    /// # Errors
    /// Another server has it, or it can't be written.
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

    /// Returns whether a file is the lock of this directory, under whatever name of the directory.
    #[must_use]
    pub fn is_lock(&self, file: &Path) -> bool {
        let is_here = |parent: &Path| {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            parent.canonicalize().is_ok_and(|parent| self.path.canonicalize().is_ok_and(|own| own == parent))
        };
        file.file_name().is_some_and(|name| name == LOCK) && file.parent().is_some_and(is_here)
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the addresses of the server to `addr.json`, atomically, so that readers never see a part of it.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_addresses(&self, grpc: SocketAddr, http: SocketAddr, console: Option<String>) -> io::Result<()> {
        let grpc_and_http = [("grpc", grpc.to_string()), ("http", http.to_string())];
        let console = console.map(|url| ("console", url));
        let addresses: BTreeMap<&str, String> = grpc_and_http.into_iter().chain(console).collect();
        let text = serde_json::json!(addresses).to_string();
        let new = self.path.join(".addr.json.new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, self.path.join("addr.json"))
    }

    /// Removes the addresses of a former server. Ignores a directory of that name.
    ///
    /// # Errors
    /// The file exists and can't be removed.
    pub fn remove_addresses(&self) -> io::Result<()> {
        let path = self.path.join("addr.json");
        match std::fs::remove_file(&path) {
            Err(_) if path.is_dir() => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the path of the high-water marks of the logs.
    #[must_use]
    pub fn high_water(&self) -> PathBuf {
        high_water(&self.path)
    }

    /// Returns the path of the record that the loss of a restore is unknown.
    #[must_use]
    pub fn unwitnessed(&self) -> PathBuf {
        unwitnessed(&self.path)
    }

    /// Returns the path of the list of frozen namespaces with reasons.
    #[must_use]
    pub fn frozen(&self) -> PathBuf {
        self.path.join("frozen.json")
    }

    /// Returns the path of the key checkpoint.
    #[must_use]
    pub fn key_checkpoint(&self) -> PathBuf {
        self.path.join("key-checkpoint.jws")
    }

    /// Returns the path of the admin's token.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        self.path.join("admin.token")
    }
}
