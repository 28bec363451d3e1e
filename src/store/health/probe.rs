//! Probes: a separate connection decides whether the database answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{DbErr, RuntimeErr};
use tokio::time::sleep;

use crate::defect::{Defect, planted};
use crate::domain::Result;
use crate::store::connection::database::{Database, postgres_options};
use crate::store::connection::own_store::{OwnStore, prepare_own};
use crate::store::connection::postgres_session::SessionTimeouts;
use crate::store::connection::timeout::within;
use crate::store::handle::Store;
use crate::store::health::error_codes;
use crate::store::health::file_probe::PROBE_TIMEOUT;

/// Pause between two probes. Longer: writes resume later after an outage. Shorter: a database that starts is asked more often.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// The result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// A new connection works.
    Answers,
    /// No new connection is accepted, and the open ones work.
    OnlyExisting,
    /// No connection works.
    Unreachable,
}

impl Store {
    /// Returns why the database can't be written to, although it answers.
    #[must_use]
    pub fn write_blocker(&self) -> Option<String> {
        self.inner.health.write_blockers.seen().map(|write_blocker| write_blocker.message().to_owned())
    }

    /// Returns why no connection to the database works, if the database gave a reason.
    #[must_use]
    pub fn outage_cause(&self) -> Option<String> {
        self.inner.health.named_cause().map(|write_blocker| write_blocker.message().to_owned())
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

    /// Returns the number of statements begun so far, including BEGIN.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.inner.health.statements.load(Ordering::Relaxed)
    }

    /// Probes after every suspicion, until it is dropped: the circuit breaker opens while probes fail and closes when one succeeds.
    pub async fn watch_health(&self) {
        let health = &self.inner.health;
        loop {
            self.until_suspected().await;
            while !self.has_recovered().await {
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

    /// Waits until there is a sign of an outage. The names of files are checked all the time: writes to a file that was removed succeed.
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

    async fn has_recovered(&self) -> bool {
        match self.probe().await {
            Probe::Answers => self.resume().await,
            // No new connection could replace the open ones.
            Probe::OnlyExisting => true,
            Probe::Unreachable => false,
        }
    }

    /// Prepares to resume with a database that answers again.
    async fn resume(&self) -> bool {
        let health = &self.inner.health;
        let was_down = health.down.load(Ordering::Relaxed);
        if was_down {
            health.failures.note();
        }
        // A link that fails silently keeps its connections for many minutes: replace them. Always do so after an outage: a call whose
        // caller disconnected was never recorded as unanswered, and its connection hangs all the same.
        let is_left = planted(Defect::TransactionLeftOpen);
        if (health.unanswered.swap(false, Ordering::Relaxed) || was_down) && !is_left {
            self.replace_pools().await;
        }
        if !was_down {
            return true;
        }
        // It may be another database, or an older state of it: check before the first write.
        let examined = self.check_for_loss().await;
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
                    let is_standby = error_codes::is_standby(&error);
                    health.causes.end_probe(number, Some(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))));
                    let keeps_old = !is_standby && self.pools_answer().await;
                    return if keeps_old { Probe::OnlyExisting } else { Probe::Unreachable };
                }
                answer => matches!(answer, Some(Ok(()))),
            },
            Database::Sqlite { path } => self.probe_file(path).await && self.is_whole(path).await,
        };
        health.causes.end_probe(number, None);
        if answers { Probe::Answers } else { Probe::Unreachable }
    }
}

/// Opens a connection and checks it. What blocks writes is not reported here.
async fn probe_postgres(url: &str, own_store: &OwnStore) -> std::result::Result<(), sqlx::Error> {
    let options = postgres_options(url).map_err(|error| sqlx::Error::Protocol(error.to_string()))?;
    let mut connection = options.connect().await?;
    let prepared = prepare_own(&mut connection, own_store, SessionTimeouts::Probe).await;
    // The probe has its answer; an error while closing does not matter.
    let _ = connection.close().await;
    prepared.map(drop)
}

/// Whether a failed connection is the refusal of a running database: one that accepts no new connection may still serve the open ones. A
/// database that starts or stops (57P) is away.
fn is_refusal(error: &sqlx::Error) -> bool {
    error_codes::code_of(error).is_some_and(|code| !code.starts_with("57P"))
}
