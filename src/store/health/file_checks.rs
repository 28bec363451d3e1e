//! Whether a SQLite database can be written to, and whether what is written gets from its write-ahead log into its file.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::domain::Reason;
use crate::store::connection::database::Database;
use crate::store::connection::timeout::within;
use crate::store::error::{Failure, classify_sqlx};
use crate::store::files::disk_space::is_nearly_full;
use crate::store::files::sqlite_file::with_suffix;
use crate::store::handle::Store;
use crate::store::health::file_probe::{FileProbe, PROBE_TIMEOUT, check_file, checkpoint, probe_sqlite, replaced};
use crate::store::health::write_blocker::WriteBlocker;

/// How long the check of a damaged file may take. Shorter: a large one stays away for ever.
const FILE_CHECK_TIMEOUT: Duration = Duration::from_secs(300);
/// Size of the write-ahead log above which it is looked whether checkpoints work: SQLite makes one at every 4 MB, and says nothing
/// when it fails. Lower: checkpoints beside SQLite's own. Higher: a failure is told later.
const WAL_CHECKED_BYTES: u64 = 16 << 20;
/// Size of the write-ahead log above which nothing is written while checkpoints fail. Higher: more of the disk is taken, and a start
/// reads more. Lower: less time to mend the disk.
const WAL_MAX_BYTES: u64 = 64 << 20;
/// How long a checkpoint may take before the look at it is given up; it goes on.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Whether the names of the files lead to what is open.
    pub(in crate::store) async fn is_in_place(&self) -> bool {
        let Some(files) = self.inner.files.clone() else { return true };
        matches!(within(PROBE_TIMEOUT, replaced(files)).await, Some(None))
    }

    /// Returns what became of files that are open, if their names lead elsewhere.
    pub(in crate::store) async fn replaced_files(&self) -> Option<String> {
        replaced(self.inner.files.clone()?).await
    }

    /// Whether the file can be written to. One probe at a time: on a disk that hangs each further one would hang too.
    #[expect(clippy::disallowed_methods, reason = "a probe that hangs is waited for by the next one")]
    pub(in crate::store) async fn probe_file(&self, path: &Path) -> bool {
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
            Some(WriteBlocker::new(Reason::DatabaseUnavailable, message))
        };
        match &found {
            // With too little room it stays as it was: a page may fit where a content does not.
            Some(Ok(FileProbe::Written)) if !is_nearly_full(path) => health.write_blockers.note_disk(None),
            Some(Ok(FileProbe::Unwritable(cause))) => health.write_blockers.note_disk(Some(cause.clone())),
            _ => {}
        }
        let (answers, cause) = match found.map(|found| found.unwrap_or(FileProbe::Failed)) {
            Some(FileProbe::Written | FileProbe::Unwritable(_)) => (true, None),
            // Somebody else's lock: then it can be written to. Our own, in a write that does not end: it can't.
            Some(FileProbe::Busy) if !health.is_write_stuck() => (true, None),
            Some(FileProbe::Busy) | None => (false, hangs()),
            Some(FileProbe::Failed) => (false, None),
            Some(FileProbe::Replaced(message)) => {
                (false, Some(WriteBlocker::new(Reason::DatabaseUnavailable, message)))
            }
        };
        health.note_file_cause(cause);
        answers
    }

    /// Whether the file is as it should be, looked at when it was found damaged.
    pub(in crate::store) async fn is_whole(&self, path: &Path) -> bool {
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
        health.write_blockers.note(is_too_large.then(|| {
            let message = "the write-ahead log of the database can't be moved into its file and has reached its bound; the \
                           operator looks at the disk";
            WriteBlocker::new(Reason::DatabaseUnavailable, message)
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
