//! Whether a SQLite database can be written to, and whether what is written gets from its write-ahead log into its file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};

use super::bounded::within;
use super::connect::{Database, Store};
use super::disk_space::{is_nearly_full, unwritable};
use super::error::{Failure, classify_sqlx};
use super::files::OpenedFiles;
use super::health::PROBE_TIMEOUT;
use super::obstacle::Obstacle;
use super::refusal::{code_of, is_disk_full};
use super::sqlite_file::{sqlite_options, with_suffix};
use crate::domain::Reason;

/// How long the check of a damaged file may take. Shorter: a large one stays away for ever.
const FILE_CHECK_TIMEOUT: Duration = Duration::from_secs(300);
/// Writes one page, and changes nothing: no release uses this number of SQLite's header.
const SQLITE_WRITE: &str = "BEGIN IMMEDIATE; PRAGMA user_version = 0; COMMIT";
/// Reads the first pages of two tables.
const SQLITE_READ: &str = "SELECT count(*) FROM store_meta; SELECT max(id) FROM namespaces";
/// Size of the write-ahead log above which it is looked whether checkpoints work: SQLite makes one at every 4 MB, and says nothing
/// when it fails. Lower: checkpoints beside SQLite's own. Higher: a failure is told later.
const WAL_CHECKED_BYTES: u64 = 16 << 20;
/// Size of the write-ahead log above which nothing is written while checkpoints fail. Higher: more of the disk is taken, and a start
/// reads more. Lower: less time to mend the disk.
const WAL_MAX_BYTES: u64 = 64 << 20;
/// How long a checkpoint may take before the look at it is given up; it goes on.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a probe of the file found.
#[derive(Debug)]
pub(super) enum FileProbe {
    /// It was written to.
    Written,
    /// Somebody holds the lock of writers.
    Busy,
    /// It can be read and not written to, and what it is.
    Unwritable(Obstacle),
    /// It can be neither read nor written to.
    Failed,
    /// Its name leads elsewhere, and what became of it.
    Replaced(String),
}

impl Store {
    /// Whether the names of the files lead to what is open.
    pub(super) async fn is_in_place(&self) -> bool {
        let Some(files) = self.inner.files.clone() else { return true };
        matches!(within(PROBE_TIMEOUT, replaced(files)).await, Some(None))
    }

    /// Returns what became of files that are open, if their names lead elsewhere.
    pub(super) async fn replaced_files(&self) -> Option<String> {
        replaced(self.inner.files.clone()?).await
    }

    /// Whether the file can be written to. One probe at a time: on a disk that hangs each further one would hang too.
    #[expect(clippy::disallowed_methods, reason = "a probe that hangs is waited for by the next one")]
    pub(super) async fn probe_file(&self, path: &Path) -> bool {
        let health = &self.inner.health;
        let mut running = health.file_probe.lock().await;
        let probe =
            running.get_or_insert_with(|| tokio::spawn(probe_sqlite(path.to_owned(), self.inner.files.clone())));
        let found = within(PROBE_TIMEOUT, probe).await;
        if found.is_some() {
            *running = None;
        }
        let hangs = || {
            let message =
                "the disk has not ended what was written to the database for seconds; the operator looks at the disk";
            Some(Obstacle::new(Reason::DatabaseUnavailable, message))
        };
        match &found {
            // With too little room it stays as it was: a page may fit where a content does not.
            Some(Ok(FileProbe::Written)) if !is_nearly_full(path) => health.obstacles.note_disk(None),
            Some(Ok(FileProbe::Unwritable(cause))) => health.obstacles.note_disk(Some(cause.clone())),
            _ => {}
        }
        let (answers, cause) = match found.map(|found| found.unwrap_or(FileProbe::Failed)) {
            Some(FileProbe::Written | FileProbe::Unwritable(_)) => (true, None),
            // Somebody else's lock: then it can be written to. Our own, in a write that does not end: it can't.
            Some(FileProbe::Busy) if !health.is_write_stuck() => (true, None),
            Some(FileProbe::Busy) | None => (false, hangs()),
            Some(FileProbe::Failed) => (false, None),
            Some(FileProbe::Replaced(message)) => (false, Some(Obstacle::new(Reason::DatabaseUnavailable, message))),
        };
        health.note_file_cause(cause);
        answers
    }

    /// Whether the file is as it should be, looked at when it was found damaged.
    pub(super) async fn is_whole(&self, path: &Path) -> bool {
        let health = &self.inner.health;
        if !health.corrupt.load(Ordering::Relaxed) {
            return true;
        }
        let is_whole = within(FILE_CHECK_TIMEOUT, check_file(path)).await.unwrap_or(false);
        if is_whole {
            health.corrupt.store(false, Ordering::Relaxed);
        }
        is_whole
    }

    /// Looks whether a large write-ahead log gets smaller. When it can't, and is very large, nothing more is written to it.
    pub async fn look_at_checkpoints(&self) {
        let Database::Sqlite { path } = &self.inner.database else { return };
        if self.is_degraded() {
            return;
        }
        let health = &self.inner.health;
        let wal = with_suffix(path, "-wal");
        let bytes = fs::metadata(wal).map_or(0, |found| found.len());
        health.wal_bytes.store(bytes, Ordering::Relaxed);
        let fails = health.checkpoints_fail.load(Ordering::Relaxed);
        if bytes <= WAL_CHECKED_BYTES && !fails {
            health.note_held_wal(false, bytes);
            return;
        }
        match within(CHECKPOINT_TIMEOUT, checkpoint(path)).await {
            Some(Ok(is_held)) => {
                health.note_held_wal(is_held && bytes > WAL_MAX_BYTES, bytes);
                if health.checkpoints_fail.swap(false, Ordering::Relaxed) {
                    tracing::warn!("the write-ahead log gets into the database file again");
                }
            }
            Some(Err(error)) if classify_sqlx(&error) == Failure::Busy => {}
            failed => {
                let error =
                    failed.and_then(Result::err).map_or("no answer in time".to_owned(), |error| error.to_string());
                if !health.checkpoints_fail.swap(true, Ordering::Relaxed) {
                    tracing::error!(
                        error,
                        wal_bytes = bytes,
                        wal_max_bytes = WAL_MAX_BYTES,
                        "failed to move the write-ahead log into the database file: the log grows, and above its bound \
                         writes are refused; look at the disk"
                    );
                }
            }
        }
        let is_too_large = bytes > WAL_MAX_BYTES && health.checkpoints_fail.load(Ordering::Relaxed);
        health.obstacles.note(is_too_large.then(|| {
            let message = "the write-ahead log of the database can't be moved into its file and has reached its bound; the \
                           operator looks at the disk";
            Obstacle::new(Reason::DatabaseUnavailable, message)
        }));
    }

    /// Bytes of SQLite's write-ahead log as of the last look.
    #[must_use]
    pub fn wal_bytes(&self) -> u64 {
        self.inner.health.wal_bytes.load(Ordering::Relaxed)
    }

    /// Whether SQLite's write-ahead log can't be moved into the database file.
    #[must_use]
    pub fn do_checkpoints_fail(&self) -> bool {
        self.inner.health.checkpoints_fail.load(Ordering::Relaxed)
    }
}

async fn replaced(files: Arc<OpenedFiles>) -> Option<String> {
    let found = tokio::task::spawn_blocking(move || files.find_replaced()).await;
    found.unwrap_or_else(|error| Some(format!("the look at the files of the database ended early: {error}")))
}

/// Whether something can be written: a disk that is full or read-only still reads.
async fn probe_sqlite(path: PathBuf, files: Option<Arc<OpenedFiles>>) -> FileProbe {
    // Before it is opened: SQLite would take a log that is not the open one for its own.
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

/// Whether its tables can be read: a disk that is full, or takes no writes, still reads.
async fn can_be_read(path: &Path) -> bool {
    let read = async {
        let mut connection = probe_options(path).connect().await?;
        let read = sqlx::raw_sql(SQLITE_READ).execute(&mut connection).await;
        let closed = connection.close().await;
        read.map(|_| ()).and(closed)
    };
    read.await.is_ok()
}

async fn check_file(path: &Path) -> bool {
    let check = async {
        let mut connection = probe_options(path).connect().await?;
        let found = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(&mut connection).await;
        connection.close().await?;
        found
    };
    check.await.is_ok_and(|found| found == "ok")
}

/// Moves the write-ahead log into the database file and empties it, as far as nobody reads from it. Answers whether somebody does,
/// or writes: then it stays as large as it is.
async fn checkpoint(path: &Path) -> Result<bool, sqlx::Error> {
    // Without waiting: writers would wait for it meanwhile.
    let options = sqlite_options(path).busy_timeout(Duration::ZERO).disable_statement_logging();
    let mut connection = options.connect().await?;
    let done = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await;
    let closed = connection.close().await;
    done.and_then(|busy| closed.map(|()| busy != 0))
}

fn probe_options(path: &Path) -> SqliteConnectOptions {
    sqlite_options(path).busy_timeout(PROBE_TIMEOUT / 2).disable_statement_logging()
}
