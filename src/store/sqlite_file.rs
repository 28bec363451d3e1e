//! A SQLite file: how it is made, and how it is opened.

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::error::StoreError;
use crate::domain::defect::{Defect, planted};

/// How long SQLite waits for a lock another process holds (a backup, the `sqlite3` shell): less than the store waits for a
/// statement.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether there is a file that is not empty.
pub(super) fn has_content(path: &Path) -> Result<bool, StoreError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.len() > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::File(error)),
    }
}

/// Makes the file when it is absent, for its owner alone. SQLite gives its journal the same mode.
pub(super) fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::File::options().create(true).append(true).mode(0o600).open(path).map(|_| ())
}

/// How a SQLite file is opened.
pub(super) fn sqlite_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if planted(Defect::SqliteNormal) { SqliteSynchronous::Normal } else { SqliteSynchronous::Full })
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
}
