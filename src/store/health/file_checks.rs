//! Checks whether a SQLite database can be written to, and whether writes get from its write-ahead log into its file.

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

/// Timeout of the check of a damaged file. Shorter: a large file stays unavailable for ever.
const FILE_CHECK_TIMEOUT: Duration = Duration::from_secs(300);
/// Size of the write-ahead log above which checkpoints are checked: SQLite makes one at every 4 MB, and does not report when it fails.
/// Lower: checkpoints beside SQLite's own. Higher: a failure is reported later.
const WAL_CHECKED_BYTES: u64 = 16 << 20;
/// Size of the write-ahead log above which nothing is written while checkpoints fail. Higher: more of the disk is used, and a start reads
/// more. Lower: less time to repair the disk.
const WAL_MAX_BYTES: u64 = 64 << 20;
/// Timeout for waiting for a checkpoint; the checkpoint itself continues.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Whether the names of the files still lead to the open files.
    pub(in crate::store) async fn is_in_place(&self) -> bool {
        let Some(files) = self.inner.files.clone() else { return true };
        matches!(within(PROBE_TIMEOUT, replaced(files)).await, Some(None))
    }

    /// Describes an open file whose name leads elsewhere; none when there is none.
    pub(in crate::store) async fn replaced_files(&self) -> Option<String> {
        replaced(self.inner.files.clone()?).await
    }

    /// Whether the file can be written to. Runs one probe at a time: on a disk that hangs every further one would hang too.
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
            // With too little space the blocker stays: a page may fit where a content does not.
            Some(Ok(FileProbe::Written)) if !is_nearly_full(path) => health.write_blockers.note_disk(None),
            Some(Ok(FileProbe::Unwritable(cause))) => health.write_blockers.note_disk(Some(cause.clone())),
            _ => {}
        }
        let (answers, cause) = match found.map(|found| found.unwrap_or(FileProbe::Failed)) {
            Some(FileProbe::Written | FileProbe::Unwritable(_)) => (true, None),
            // Another process's lock: then the file can be written to. Our own, in a write that does not end: it can't.
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

    /// Whether the file is intact. It is checked only after it was found damaged.
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

    /// Checks whether a large write-ahead log can be moved into the file. When it can't, and is very large, nothing more is written.
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

    /// Returns the bytes of SQLite's write-ahead log at the last check.
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
