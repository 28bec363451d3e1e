//! Probes of a SQLite file: whether it can be written to and read, is intact, and can take in its write-ahead log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};

use crate::store::error::{Failure, classify_sqlx};
use crate::store::files::disk_space::unwritable;
use crate::store::files::opened_files::OpenedFiles;
use crate::store::files::sqlite_file::sqlite_options;
use crate::store::health::error_codes::{code_of, is_disk_full};
use crate::store::health::write_blocker::WriteBlocker;

/// Timeout of a new connection with one statement on it. Longer: more calls wait before an outage is noticed.
pub(in crate::store) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes one page without a change: no release uses this number of SQLite's header.
const SQLITE_WRITE: &str = "BEGIN IMMEDIATE; PRAGMA user_version = 0; COMMIT";

/// Reads the first pages of two tables.
const SQLITE_READ: &str = "SELECT count(*) FROM store_meta; SELECT max(id) FROM namespaces";

/// The result of a probe of the file.
#[derive(Debug)]
pub(in crate::store) enum FileProbe {
    /// The file was written to.
    Written,
    /// Another connection holds the write lock.
    Busy,
    /// The file can be read and not written to, for this reason.
    Unwritable(WriteBlocker),
    /// The file can be neither read nor written to.
    Failed,
    /// The file's name leads elsewhere, as described.
    Replaced(String),
}

pub(in crate::store) async fn replaced(files: Arc<OpenedFiles>) -> Option<String> {
    let found = tokio::task::spawn_blocking(move || files.find_replaced()).await;
    found.unwrap_or_else(|error| Some(format!("the look at the files of the database ended early: {error}")))
}

/// Tries to write: a disk that is full or read-only can still be read.
pub(in crate::store) async fn probe_sqlite(path: PathBuf, files: Option<Arc<OpenedFiles>>) -> FileProbe {
    // Check this before the file is opened: SQLite would use a log that is not the open one.
    if let Some(files) = files
        && let Some(message) = replaced(files).await
    {
        return FileProbe::Replaced(message);
    }
    let wrote = async {
        let mut connection = probe_options(&path).connect().await?;
        let wrote = sqlx::raw_sql(SQLITE_WRITE).execute(&mut connection).await;
        let closed = connection.close().await;
        wrote.map(|_| ()).and(closed)
    };
    match wrote.await {
        Ok(()) => FileProbe::Written,
        Err(error) if classify_sqlx(&error) == Failure::Busy => FileProbe::Busy,
        Err(error) => {
            tracing::debug!(%error, "the database can't be written to");
            if !can_be_read(&path).await {
                return FileProbe::Failed;
            }
            let is_full = code_of(&error).is_some_and(|code| is_disk_full(&code));
            FileProbe::Unwritable(unwritable(&path, is_full))
        }
    }
}

/// Whether the tables can be read: a disk that is full, or accepts no writes, can still be read.
async fn can_be_read(path: &Path) -> bool {
    let read = async {
        let mut connection = probe_options(path).connect().await?;
        let read = sqlx::raw_sql(SQLITE_READ).execute(&mut connection).await;
        let closed = connection.close().await;
        read.map(|_| ()).and(closed)
    };
    read.await.is_ok()
}

pub(in crate::store) async fn check_file(path: &Path) -> bool {
    let check = async {
        let mut connection = probe_options(path).connect().await?;
        let found = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(&mut connection).await;
        connection.close().await?;
        found
    };
    check.await.is_ok_and(|found| found == "ok")
}

/// Moves the write-ahead log into the database file and empties it, as far as no reader uses it. Returns whether a reader or writer
/// prevents that: then it keeps its size.
pub(in crate::store) async fn checkpoint(path: &Path) -> Result<bool, sqlx::Error> {
    // Do not wait: writers would wait meanwhile.
    let options = sqlite_options(path).busy_timeout(Duration::ZERO).disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
    let closed = connection.close().await;
    done.and_then(|busy| closed.map(|()| busy != 0))
}

fn probe_options(path: &Path) -> SqliteConnectOptions {
    sqlite_options(path).busy_timeout(PROBE_TIMEOUT / 2).disable_statement_logging()
}
