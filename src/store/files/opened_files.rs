//! The open files of a SQLite database, and whether their names still lead to them (docs/guarantees.md#g1).
//!
//! SQLite continues to write to a file that was removed or replaced: everything acknowledged from then on is lost when the process ends.
//! Invariant: as long as `OpenedFiles` is not closed, SQLite itself removes none of the files.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sea_orm::sqlx::sqlite::SqliteConnection;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{DbErr, RuntimeErr};
use tokio::sync::Mutex;

use crate::store::connection::pools::named;
use crate::store::error::StoreError;
use crate::store::files::sqlite_file::{sqlite_options, with_suffix};

/// Suffixes of the files, after the name of the database.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The files of an open database.
#[derive(Debug)]
pub(in crate::store) struct OpenedFiles {
    files: Vec<OpenedFile>,
    /// Runs no statements. SQLite removes the write-ahead log when the last connection is closed, and creates another one later: while
    /// this one is open, a missing log was removed by another process.
    connection: Mutex<Option<SqliteConnection>>,
}

#[derive(Debug)]
struct OpenedFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl OpenedFiles {
    /// Records which files the database has now.
    ///
    /// # Errors
    /// `StoreError` when the database can't be opened.
    pub(in crate::store) async fn open(database: &Path) -> Result<Self, StoreError> {
        let failed = |error| named(database, StoreError::Connect(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))));
        let mut connection = sqlite_options(database).disable_statement_logging().connect().await.map_err(failed)?;
        // The first read opens the write-ahead log.
        sqlx::query("SELECT count(*) FROM sqlite_master").fetch_one(&mut connection).await.map_err(failed)?;
        let files: io::Result<Vec<_>> = SUFFIXES.iter().map(|suffix| OpenedFile::of(database, suffix)).collect();
        let files = files.map_err(StoreError::File)?;
        Ok(Self { files, connection: Mutex::new(Some(connection)) })
    }

    /// Describes a file that was removed or replaced, for callers and operators; none when there is none. Blocks for a query of the
    /// directory.
    pub(in crate::store) fn find_replaced(&self) -> Option<String> {
        let found = self.files.iter().find_map(OpenedFile::change)?;
        Some(format!(
            "the database is not where it was opened ({found}), and what would be written could be lost; the operator puts its \
             files back, or stops the server and restores a backup"
        ))
    }

    /// Closes the connection, so that SQLite may remove its files.
    pub(in crate::store) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "failed to close the database");
        }
    }
}

impl OpenedFile {
    fn of(database: &Path, suffix: &str) -> io::Result<Self> {
        let path = with_suffix(database, suffix);
        let device_and_inode = device_and_inode(&fs::metadata(&path)?);
        Ok(Self { path, device_and_inode })
    }

    /// Describes how the file's name changed; none when it did not.
    fn change(&self) -> Option<String> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        match fs::metadata(&self.path) {
            Ok(found) if device_and_inode(&found) == self.device_and_inode => None,
            Ok(_) => Some(format!("{name} is another file")),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(format!("{name} was removed")),
            Err(error) => Some(format!("{name} can't be reached: {}", error.kind())),
        }
    }
}

fn device_and_inode(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
