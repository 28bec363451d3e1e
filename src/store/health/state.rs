//! The health of the database: a failed statement raises a suspicion, a probe decides, and every call checks the result.
//!
//! A probe uses its own connection, so it distinguishes a database that is gone from one that is busy and from pooled connections that
//! died silently. While it fails, calls fail at once instead of each waiting for an answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::domain::{Error, Reason, Result};
use crate::store::connection::causes::ConnectionCauses;
use crate::store::connection::own_store::OwnStore;
use crate::store::connection::reuse::LastFailure;
use crate::store::error::{Failure, code_of};
use crate::store::health::error_codes;
use crate::store::health::file_probe::FileProbe;
use crate::store::health::write_blocker::{WriteBlocker, WriteBlockers};

/// How long a caller waits for the answer to its COMMIT: as long as for any statement. The COMMIT itself continues.
pub(in crate::store) const COMMIT_ANSWER_TIMEOUT: Duration = Duration::from_millis(2_400);

/// What this process knows about the state of the database.
#[derive(Debug)]
pub(in crate::store) struct Health {
    pub(in crate::store) down: AtomicBool,
    /// A statement was not answered: connections may be dead without an error.
    pub(in crate::store) unanswered: AtomicBool,
    /// The file was found damaged, and no later check found it intact.
    pub(in crate::store) corrupt: AtomicBool,
    pub(in crate::store) failures: Arc<LastFailure>,
    /// Why the database can't be written to, although it answers.
    pub(in crate::store) write_blockers: Arc<WriteBlockers>,
    pub(in crate::store) suspected: Notify,
    /// Why a call gets no connection.
    pub(in crate::store) causes: ConnectionCauses,
    /// Number of statements begun, including BEGIN and without those of probes.
    pub(in crate::store) statements: AtomicU64,
    /// COMMITs that have begun and not ended, by number, with the time at which each began.
    commits: Mutex<BTreeMap<u64, Instant>>,
    /// A probe of a file that has not ended.
    pub(in crate::store) file_probe: tokio::sync::Mutex<Option<JoinHandle<FileProbe>>>,
    /// Why the file can't be written to, as found by its last probe.
    file_cause: Mutex<Option<WriteBlocker>>,
    /// Bytes of SQLite's write-ahead log.
    pub(in crate::store) wal_bytes: AtomicU64,
    /// Whether the write-ahead log can't be moved into the file.
    pub(in crate::store) checkpoints_fail: AtomicBool,
    /// Whether the write-ahead log is very large and can't be emptied because a reader uses it.
    wal_is_held: AtomicBool,
    /// Id of the store that every connection must lead to; none before it is known.
    pub(in crate::store) own_store: OwnStore,
}

/// A COMMIT that has not ended.
#[derive(Debug)]
pub(in crate::store) struct RunningCommit {
    number: u64,
    health: Arc<Health>,
}

impl Drop for RunningCommit {
    fn drop(&mut self) {
        self.health.commits.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Health {
    /// Creates the state of a database that is assumed to answer.
    pub(in crate::store) fn new(failures: Arc<LastFailure>) -> Self {
        Self {
            down: AtomicBool::new(false),
            unanswered: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            failures,
            write_blockers: Arc::default(),
            suspected: Notify::new(),
            causes: ConnectionCauses::default(),
            statements: AtomicU64::new(0),
            commits: Mutex::default(),
            file_probe: tokio::sync::Mutex::default(),
            file_cause: Mutex::default(),
            wal_bytes: AtomicU64::new(0),
            checkpoints_fail: AtomicBool::new(false),
            wal_is_held: AtomicBool::new(false),
            own_store: OwnStore::default(),
        }
    }

    /// Records that a COMMIT begins; it ends when the returned guard is dropped.
    pub(in crate::store) fn commit_begins(self: &Arc<Self>) -> RunningCommit {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let number = commits.last_key_value().map_or(0, |(last, _)| last + 1);
        commits.insert(number, self.failures.now());
        RunningCommit { number, health: Arc::clone(self) }
    }

    /// Whether a statement that was given up may still run, or a COMMIT has not ended in time.
    pub(in crate::store) fn is_write_stuck(&self) -> bool {
        let now = self.failures.now();
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.unanswered.load(Ordering::Relaxed)
            || commits.values().any(|began| now.duration_since(*began) >= COMMIT_ANSWER_TIMEOUT)
    }

    /// Records why the file can't be written to.
    pub(in crate::store) fn note_file_cause(&self, cause: Option<WriteBlocker>) {
        *self.file_cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    /// Logs when a reader begins to prevent the write-ahead log from being emptied, and when that ends.
    pub(in crate::store) fn note_held_wal(&self, is_held: bool, wal_bytes: u64) {
        match (self.wal_is_held.swap(is_held, Ordering::Relaxed), is_held) {
            (false, true) => tracing::warn!(
                wal_bytes,
                "somebody reads the database without an end (a backup that hangs, a shell): its write-ahead log grows with \
                 every write until then"
            ),
            (true, false) => tracing::warn!("the write-ahead log can be emptied again"),
            _ => {}
        }
    }

    /// Counts a statement that begins.
    pub(in crate::store) fn count_statement(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests a probe, because the database may be away.
    pub(in crate::store) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Records that a statement failed.
    pub(in crate::store) fn failed(&self, failure: Failure) {
        match failure {
            Failure::Busy | Failure::Statement => return,
            Failure::NoConnection | Failure::Refused => {}
            Failure::Outage => self.failures.note(),
            Failure::Corrupt => {
                self.corrupt.store(true, Ordering::Relaxed);
                self.failures.note();
            }
        }
        self.suspect();
    }

    /// Records that a statement was given up.
    pub(in crate::store) fn unanswered(&self) {
        self.unanswered.store(true, Ordering::Relaxed);
        self.suspect();
    }

    /// Fails at once during an outage.
    pub(in crate::store) fn check(&self) -> Result<()> {
        if self.down.load(Ordering::Relaxed) || self.corrupt.load(Ordering::Relaxed) {
            let message = "the database does not answer; retry with the same request_id";
            let unnamed = || Error::new(Reason::DatabaseUnavailable, message);
            // Without the internal detail, which is logged once elsewhere.
            return Err(self.named_cause().map_or_else(unnamed, |write_blocker| write_blocker.to_error()));
        }
        Ok(())
    }
}

impl Health {
    /// Returns why no connection works, as found by the last probe; none while the database answers. Even then, new connections may be
    /// refused (`Probe::OnlyExisting`).
    pub(in crate::store) fn named_cause(&self) -> Option<WriteBlocker> {
        if !self.down.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(cause) = &*self.file_cause.lock().unwrap_or_else(PoisonError::into_inner) {
            return Some(cause.clone());
        }
        self.causes.last_refusal().as_ref().and_then(code_of).and_then(|code| error_codes::write_blocker(&code))
    }
}
