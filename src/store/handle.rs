//! The handle of a store: its connections, and what this process knows of its database.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sea_orm::DatabaseConnection;

use crate::domain::Result as Answer;
use crate::domain::row_mac::RowMac;
use crate::domain::time::Micros;
use crate::store::connection::bounded::TimedConnection;
use crate::store::connection::database::Database;
use crate::store::connection::notification::Unannounced;
use crate::store::connection::pools::{Pools, SQLITE_READERS_MAX};
use crate::store::connection::postgres_pools::{POSTGRES_READERS_MAX, connect_postgres};
use crate::store::connection::timeout::within;
use crate::store::files::opened_files::OpenedFiles;
use crate::store::health::state::Health;
use crate::store::loss::high_water_marks::HighWaterMarks;
use crate::store::loss::suspected_loss::SuspectedLoss;
use crate::store::tables::closed_versions::ClosedVersions;
use crate::store::transaction::log_clock::LogClock;

/// Timeout for open connections to answer while the database refuses new ones. Shorter: busy ones count as gone.
const POOLS_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout for the database to end its connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The store. All clones share one state.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

/// The state that all clones of a `Store` share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) database: Database,
    pools: RwLock<Pools>,
    pub(super) health: Arc<Health>,
    pub(super) suspected_loss: Arc<SuspectedLoss>,
    pub(super) high_water: HighWaterMarks,
    pub(super) clock: LogClock,
    closed_versions: Arc<ClosedVersions>,
    /// The files of a SQLite database that is open to writes.
    pub(super) files: Option<Arc<OpenedFiles>>,
    macs: Arc<dyn RowMac>,
    /// What `Store::announce` tells other replicas.
    pub(super) unannounced: Unannounced,
}

impl Store {
    /// Creates a store from connections that are already open.
    pub(super) fn over(
        database: Database,
        pools: Pools,
        files: Option<Arc<OpenedFiles>>,
        macs: Arc<dyn RowMac>,
        health: Arc<Health>,
        suspected_loss: Arc<SuspectedLoss>,
        wall: fn() -> Micros,
    ) -> Self {
        let (pools, high_water, unannounced) = (RwLock::new(pools), HighWaterMarks::default(), Unannounced::default());
        let (clock, closed_versions) = (LogClock::new(wall), Arc::default());
        let inner = Inner {
            database,
            pools,
            health,
            suspected_loss,
            high_water,
            clock,
            closed_versions,
            files,
            macs,
            unannounced,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether no other process can write: then this process knows of every commit.
    #[must_use]
    pub fn is_sole_writer(&self) -> bool {
        !self.is_postgres()
    }

    /// Returns the cache of closed versions.
    pub(super) fn closed_versions(&self) -> Arc<ClosedVersions> {
        Arc::clone(&self.inner.closed_versions)
    }

    /// Returns the maximal number of connections for reads.
    #[must_use]
    pub fn readers_max(&self) -> usize {
        let readers = if self.is_postgres() { POSTGRES_READERS_MAX } else { SQLITE_READERS_MAX };
        usize::try_from(readers).unwrap_or(usize::MAX)
    }

    /// Whether the database is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(self.inner.database, Database::Postgres { .. })
    }

    pub(super) fn macs(&self) -> Arc<dyn RowMac> {
        Arc::clone(&self.inner.macs)
    }

    fn pools(&self) -> Pools {
        self.inner.pools.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the connections that write, unless the database is away or writes are blocked.
    pub(super) fn writer(&self) -> Answer<TimedConnection<DatabaseConnection>> {
        self.inner.health.check()?;
        self.inner.health.write_blockers.check()?;
        Ok(self.writer_in_spite_of_write_blockers())
    }

    pub(super) fn writer_in_spite_of_write_blockers(&self) -> TimedConnection<DatabaseConnection> {
        TimedConnection::new(self.pools().writer, Arc::clone(&self.inner.health))
    }

    /// Whether open connections still answer, for writes and for reads.
    pub(super) async fn pools_answer(&self) -> bool {
        use sea_orm::ConnectionTrait as _;
        let Pools { writer, reader } = self.pools();
        let both = async { tokio::join!(writer.execute_unprepared("SELECT 1"), reader.execute_unprepared("SELECT 1")) };
        matches!(within(POOLS_TIMEOUT, both).await, Some((Ok(_), Ok(_))))
    }

    /// Returns the connections that read, unless the database is away.
    pub(super) fn reader(&self) -> Answer<TimedConnection<DatabaseConnection>> {
        self.inner.health.check()?;
        Ok(self.reader_in_outage())
    }

    /// Returns the connections that read, even during an outage, for the code that checks whether it is over.
    pub(super) fn reader_in_outage(&self) -> TimedConnection<DatabaseConnection> {
        TimedConnection::new(self.pools().reader, Arc::clone(&self.inner.health))
    }

    /// Opens new connections to PostgreSQL for all later calls. Statements on the old ones continue.
    pub(super) async fn replace_pools(&self) {
        let Database::Postgres { url } = &self.inner.database else { return };
        match connect_postgres(url, &self.inner.suspected_loss, &self.inner.health).await {
            Ok(pools) => *self.inner.pools.write().unwrap_or_else(PoisonError::into_inner) = pools,
            Err(error) => tracing::error!(%error, "failed to replace the connections"),
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        // A call that hangs in the database keeps its connection: closing must not wait for it.
        let closed = async {
            if let Some(files) = &self.inner.files {
                files.close().await;
            }
            self.pools().close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("the database did not close its connections in time");
        }
    }
}
