//! A SQLite file: how it is created and opened.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::defect::{Defect, planted};
use crate::store::error::StoreError;

/// How long SQLite waits for a lock that another process holds (a backup, the `sqlite3` shell): less than the statement timeout of the
/// store.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the file exists and is not empty.
pub(in crate::store) fn has_content(path: &Path) -> Result<bool, StoreError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::File(error)),
    }
}

/// Creates the file when it is absent, readable by its owner alone. SQLite gives its journal the same mode.
pub(in crate::store) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::File::options().create(true).append(true).mode(0o600).open(path).map(|_| ())
}

/// Flushes the write-ahead log that a previous server left. Otherwise, when that server was killed between a write and its flush, data
/// that this server reads and sends could be lost in a power cut (docs/guarantees.md#g1). SQLite holds no lock on this file.
pub(in crate::store) fn flush_log(database: &Path) -> io::Result<()> {
    let log = with_suffix(database, "-wal");
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("failed to flush {}: {error}", log.display()));
    match File::open(&log) {
        Ok(file) => file.sync_all().map_err(failed)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Returns the name of the database with a suffix.
pub(in crate::store) fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns the options with which a SQLite file is opened.
pub(in crate::store) fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if planted(Defect::SqliteNormal) { SqliteSynchronous::Normal } else { SqliteSynchronous::Full })
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
}
