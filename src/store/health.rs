//! Whether the database answers: suspected by every statement that fails, decided by a probe, obeyed by every call.
//!
//! A probe is a connection of its own, so it tells a database that is gone from one that is busy and from pooled
//! connections that died in silence. While it fails, calls fail at once instead of each waiting for an answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{DbErr, RuntimeErr};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::bounded::within;
use super::connect::{Database, Store, postgres_options};
use super::connection_causes::ConnectionCauses;
use super::connection_guard::LastFailure;
use super::error::{Failure, code_of};
use super::file_health::FileProbe;
use super::incarnation::{OwnStore, prepare_own};
use super::obstacle::{Obstacle, Obstacles};
use super::postgres_session::Bounds;
use super::refusal;
use crate::defect::{Defect, planted};
use crate::domain::{Error, Reason, Result};

/// How long a new connection and one statement on it may take. Longer: more calls wait before an outage is seen.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Between two probes. Longer: writes go on later after an outage. Shorter: a database that comes up is asked more often.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// How long a caller waits for the answer to its COMMIT: as long as for any statement. The COMMIT itself goes on.
pub(super) const COMMIT_ANSWER_TIMEOUT: Duration = Duration::from_millis(2_400);

/// What is known of the database.
#[derive(Debug)]
pub(super) struct Health {
    down: AtomicBool,
    /// Something was not answered: connections may be dead without anybody saying so.
    unanswered: AtomicBool,
    /// The file was found damaged, and no check found it whole since.
    pub(super) corrupt: AtomicBool,
    pub(super) failures: Arc<LastFailure>,
    /// Why it can't be written to, although it answers.
    pub(super) obstacles: Arc<Obstacles>,
    suspected: Notify,
    /// Why a call gets no connection.
    pub(super) causes: ConnectionCauses,
    /// Statements begun, and BEGINs; what probes ask is not among them.
    statements: AtomicU64,
    /// COMMITs that have begun and not ended, by a number, and when each began.
    commits: Mutex<BTreeMap<u64, Instant>>,
    /// A probe of a file that has not ended.
    pub(super) file_probe: tokio::sync::Mutex<Option<JoinHandle<FileProbe>>>,
    /// Why the file can't be written to, as its last probe found it.
    file_cause: Mutex<Option<Obstacle>>,
    /// Bytes of SQLite's write-ahead log.
    pub(super) wal_bytes: AtomicU64,
    /// What is in the write-ahead log can't be moved into the file.
    pub(super) checkpoints_fail: AtomicBool,
    /// The write-ahead log is very large and can't be emptied while somebody reads.
    wal_is_held: AtomicBool,
    /// Id of the store that every connection must lead to; none before it is known.
    pub(super) own_store: OwnStore,
}

/// A COMMIT that has not ended.
#[derive(Debug)]
pub(super) struct RunningCommit {
    number: u64,
    health: Arc<Health>,
}

impl Drop for RunningCommit {
    fn drop(&mut self) {
        self.health.commits.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Health {
    /// Nothing is known to be wrong.
    pub(super) fn new(failures: Arc<LastFailure>) -> Self {
        Self {
            down: AtomicBool::new(false),
            unanswered: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            failures,
            obstacles: Arc::default(),
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

    /// A COMMIT begins; it ends when the answer is dropped.
    pub(super) fn commit_begins(self: &Arc<Self>) -> RunningCommit {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let number = commits.last_key_value().map_or(0, |(last, _)| last + 1);
        commits.insert(number, self.failures.now());
        RunningCommit { number, health: Arc::clone(self) }
    }

    /// Whether something that was given up may still run, or a COMMIT has not ended in time.
    pub(super) fn is_write_stuck(&self) -> bool {
        let now = self.failures.now();
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.unanswered.load(Ordering::Relaxed)
            || commits.values().any(|began| now.duration_since(*began) >= COMMIT_ANSWER_TIMEOUT)
    }

    /// Remembers why the file can't be written to.
    pub(super) fn note_file_cause(&self, cause: Option<Obstacle>) {
        *self.file_cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }

    /// Says when a reader keeps the write-ahead log from being emptied, and when no longer.
    pub(super) fn note_held_wal(&self, is_held: bool, wal_bytes: u64) {
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

    /// A statement begins.
    pub(super) fn asked(&self) {
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// The database may be away: a probe shall tell.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// A statement failed.
    pub(super) fn failed(&self, failure: Failure) {
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

    /// A statement was given up.
    pub(super) fn unanswered(&self) {
        self.unanswered.store(true, Ordering::Relaxed);
        self.suspect();
    }

    /// Fails at once during an outage.
    pub(super) fn check(&self) -> Result<()> {
        if self.down.load(Ordering::Relaxed) || self.corrupt.load(Ordering::Relaxed) {
            let message = "the database does not answer; retry with the same request_id";
            let unnamed = || Error::new(Reason::DatabaseUnavailable, message);
            // Without the internal detail: the log has it once.
            return Err(self.named_cause().map_or_else(unnamed, |obstacle| obstacle.refusal()));
        }
        Ok(())
    }
}

impl Health {
    /// What keeps every connection away, as the last probe heard it; nothing while the database answers. Somebody new may be
    /// refused then all the same (`Probe::KeepsOld`).
    fn named_cause(&self) -> Option<Obstacle> {
        if !self.down.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(cause) = &*self.file_cause.lock().unwrap_or_else(PoisonError::into_inner) {
            return Some(cause.clone());
        }
        self.causes.last_refusal().as_ref().and_then(code_of).and_then(|code| refusal::named(&code))
    }
}

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// A new connection works.
    Answers,
    /// Nobody new is let in, and the connections that are open work.
    KeepsOld,
    /// Nothing works.
    Away,
}

impl Store {
    /// Why the database can't be written to, although it answers.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        self.inner.health.obstacles.seen().map(|obstacle| obstacle.message().to_owned())
    }

    /// Why no connection to the database works, if it said so.
    #[must_use]
    pub fn outage_cause(&self) -> Option<String> {
        self.inner.health.named_cause().map(|obstacle| obstacle.message().to_owned())
    }

    /// Whether the database is known not to answer.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.inner.health.down.load(Ordering::Relaxed)
    }

    /// Fails at once while the database is known not to answer.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub fn check_up(&self) -> Result<()> {
        self.inner.health.check()
    }

    /// Statements begun so far, BEGINs among them.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.inner.health.statements.load(Ordering::Relaxed)
    }

    /// Follows every suspicion until it is dropped: the breaker opens while probes fail and closes when one succeeds.
    pub async fn watch_health(&self) {
        let health = &self.inner.health;
        loop {
            self.until_suspected().await;
            while !self.is_back().await {
                if !health.down.swap(true, Ordering::Relaxed) {
                    let cause = self.outage_cause();
                    tracing::error!(cause, "the database does not answer; serving from memory, writes fail at once");
                }
                sleep(PROBE_INTERVAL).await;
            }
            if health.down.swap(false, Ordering::Relaxed) {
                tracing::warn!("the database answers again");
            }
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Waits until something speaks for an outage. The names of files are looked at all the time: writes to a file that was removed
    /// succeed.
    async fn until_suspected(&self) {
        let suspected = self.inner.health.suspected.notified();
        if self.is_postgres() {
            return suspected.await;
        }
        let mut suspected = std::pin::pin!(suspected);
        while tokio::time::timeout(PROBE_INTERVAL, &mut suspected).await.is_err() {
            if !self.is_in_place().await {
                return;
            }
        }
    }

    async fn is_back(&self) -> bool {
        match self.probe().await {
            Probe::Answers => self.take_back().await,
            // They are all there is: nothing takes their place.
            Probe::KeepsOld => true,
            Probe::Away => false,
        }
    }

    /// Makes ready to go on with a database that answers.
    async fn take_back(&self) -> bool {
        let health = &self.inner.health;
        let was_down = health.down.load(Ordering::Relaxed);
        if was_down {
            health.failures.note();
        }
        // A link that was cut in silence keeps its connections for many minutes: new ones take their place. After an outage
        // always: a call whose caller went away was never heard to be unanswered, and its connection hangs all the same.
        let is_left = planted(Defect::TransactionLeftOpen);
        if (health.unanswered.swap(false, Ordering::Relaxed) || was_down) && !is_left {
            self.replace_pools().await;
        }
        if !was_down {
            return true;
        }
        // It may be another database, or an older state of it: seen before the first write.
        let examined = self.examine().await;
        if let Err(error) = &examined {
            tracing::error!(%error, detail = error.internal, "failed to compare the database with what was seen of it");
        }
        examined.is_ok()
    }

    async fn probe(&self) -> Probe {
        let health = &self.inner.health;
        let number = health.causes.begin_probe();
        let answers = match &self.inner.database {
            Database::Postgres { url } => match within(PROBE_TIMEOUT, probe_postgres(url, &health.own_store)).await {
                Some(Err(error)) if is_refusal(&error) => {
                    let is_standby = refusal::is_standby(&error);
                    health.causes.end_probe(number, Some(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))));
                    let keeps_old = !is_standby && self.pools_answer().await;
                    return if keeps_old { Probe::KeepsOld } else { Probe::Away };
                }
                answer => matches!(answer, Some(Ok(()))),
            },
            Database::Sqlite { path } => self.probe_file(path).await && self.is_whole(path).await,
        };
        health.causes.end_probe(number, None);
        if answers { Probe::Answers } else { Probe::Away }
    }
}

/// Writes hear of what is in their way; reads have nothing to do with it.
async fn probe_postgres(url: &str, own_store: &OwnStore) -> std::result::Result<(), sqlx::Error> {
    let options = postgres_options(url).map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    let mut connection = options.connect().await?;
    let prepared = prepare_own(&mut connection, own_store, Bounds::Probe).await;
    // It has answered; whether it says goodbye is of no interest.
    let _ = connection.close().await;
    prepared.map(drop)
}

/// Whether a failed connection is an answer of a database that is there: one that has no room or no welcome for a new one may
/// still serve those it has. One that starts or stops (57P) is away.
fn is_refusal(error: &sqlx::Error) -> bool {
    refusal::code_of(error).is_some_and(|code| !code.starts_with("57P"))
}
