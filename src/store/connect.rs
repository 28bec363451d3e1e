//! Connections: one writer and several readers on SQLite, one pool on PostgreSQL.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectOptions, DatabaseConnection, DbBackend, DbErr, RuntimeErr};
use tokio::sync::Notify;

use super::bounded::{Bounded, within};
use super::connection_guard::{LastFailure, guard_postgres};
use super::doubt::Doubt;
use super::error::StoreError;
use super::files::OpenedFiles;
use super::health::Health;
use super::incarnation::{INCARNATION, verified};
use super::log_clock::{Clocks, LogClock};
use super::memory::{Memory, RememberedStore};
use super::meta::store_id;
use super::obstacle::Obstacles;
use super::pool::{ACQUIRE_TIMEOUT, SQLITE_READERS_MAX, connect, connect_sqlite};
use super::pooler::refuse_transaction_mode;
use super::postgres_session::{Bounds, prepare, without_startup_parameters};
use super::postgres_tls::warn_unverified;
use super::sqlite_file::{flush_log, has_content, make_private};
use super::version_list::ClosedVersions;
use super::{guard, migrate};
use crate::domain::Result as Answer;
use crate::domain::row_mac::RowMac;
use crate::domain::time::Micros;

/// Connections to PostgreSQL that write: each holds one from lock to commit. Apart from those that read, so that writers
/// that wait for a namespace don't starve reads. With the listener and a probe a replica takes 26 connections at most:
/// three replicas fit into PostgreSQL's default of 100.
const POSTGRES_WRITERS_MAX: u32 = 12;
/// Connections to PostgreSQL that read.
const POSTGRES_READERS_MAX: u32 = 12;
/// How long open connections may take to answer while the database refuses new ones. Shorter: busy ones count as gone.
const POOLS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the database may take to end its connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the store lives.
#[derive(Debug, Clone)]
pub enum Database {
    /// A file of this machine.
    Sqlite {
        /// Its path; made when absent.
        path: PathBuf,
    },
    /// A server.
    Postgres {
        /// `postgres://…`, with its secrets.
        url: String,
    },
}

/// The store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

/// What the clones share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) database: Database,
    pools: RwLock<Pools>,
    pub(super) health: Arc<Health>,
    pub(super) doubt: Arc<Doubt>,
    pub(super) memory: Memory,
    pub(super) clock: LogClock,
    closed_versions: Arc<ClosedVersions>,
    /// The files of a SQLite database that is open to writes.
    pub(super) files: Option<Arc<OpenedFiles>>,
    tags: Arc<dyn RowMac>,
    /// Something was committed here.
    pub(super) committed: Notify,
}

/// Connections. Dropped, they end as soon as nothing runs on them.
#[derive(Debug, Clone)]
pub(super) struct Pools {
    pub(super) writer: DatabaseConnection,
    pub(super) reader: DatabaseConnection,
}

impl Pools {
    pub(super) fn is_postgres(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Postgres
    }

    async fn close(&self) {
        for connection in [&self.writer, &self.reader] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "failed to close the database");
            }
        }
    }
}

impl Database {
    /// Connects, migrates when `migrate` says so, and refuses a database that is not safe to run on (docs/guarantees.md#g1), or that does not hold
    /// the store that is `remembered` (docs/guarantees.md#g1b). `tags` prove rows.
    ///
    /// # Errors
    /// `StoreError`, each with what to do.
    pub async fn open(
        &self,
        migrate: bool,
        remembered: Option<&RememberedStore>,
        tags: Arc<dyn RowMac>,
        clocks: Clocks,
    ) -> Result<Store, StoreError> {
        // Without the timeouts of calls: a migration takes the time it needs, and waits for another one.
        let health = Arc::new(Health::new(Arc::new(LastFailure::new(clocks.monotonic))));
        self.check_not_gone(remembered)?;
        let lock = if migrate { migrate::lock(self).await? } else { None };
        let pools = self.connect(&health.failures).await?;
        self.refuse_poolers().await?;
        // First, so that a database that is refused stays as it was.
        check_remembered(&pools, remembered).await?;
        guard::check_durable(&pools).await?;
        if migrate {
            migrate::up(self, &pools).await?;
        } else {
            migrate::check(&pools).await?;
        }
        drop(lock);
        let doubt = Arc::<Doubt>::default();
        let (pools, files) = match self {
            Self::Sqlite { path } => (pools, Some(Arc::new(OpenedFiles::open(path).await?))),
            Self::Postgres { url } => {
                pools.close().await;
                (connect_postgres(url, &doubt, &health).await?, None)
            }
        };
        let store = Store::over(self.clone(), pools, files, tags, health, doubt, clocks.wall);
        if let Some(incarnation) = store.incarnation().await? {
            store.keep(INCARNATION, &incarnation).await?;
        }
        Ok(store)
    }

    /// Brings the schema up to this binary's, and does nothing else.
    ///
    /// # Errors
    /// As `open`.
    pub async fn migrate(&self, remembered: Option<&RememberedStore>, clocks: Clocks) -> Result<(), StoreError> {
        self.check_not_gone(remembered)?;
        // Up to the end of its connections: the last one to a file empties its log, which keeps new ones away.
        let _lock = migrate::lock(self).await?;
        let pools = self.connect(&Arc::new(LastFailure::new(clocks.monotonic))).await?;
        self.refuse_poolers().await?;
        check_remembered(&pools, remembered).await?;
        guard::check_durable(&pools).await?;
        let done = migrate::up(self, &pools).await;
        pools.close().await;
        done
    }

    /// Refuses a SQLite file that is absent or empty: for what must not make one.
    ///
    /// # Errors
    /// `StoreError::NoDatabase`.
    pub fn check_exists(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { path } if !has_content(path)? => Err(StoreError::NoDatabase { path: path.clone() }),
            _ => Ok(()),
        }
    }

    /// Refuses a database that was here before and is not any more, before anything is made in its place.
    fn check_not_gone(&self, remembered: Option<&RememberedStore>) -> Result<(), StoreError> {
        if let (Self::Sqlite { path }, Some(remembered)) = (self, remembered)
            && !has_content(path)?
        {
            return Err(remembered.refuse(format!("the database {} is absent or empty", path.display())));
        }
        Ok(())
    }

    async fn connect(&self, failures: &Arc<LastFailure>) -> Result<Pools, StoreError> {
        match self {
            Self::Sqlite { path } => {
                make_private(path).and_then(|()| flush_log(path)).map_err(StoreError::File)?;
                let writer = connect_sqlite(path, 1, failures).await?;
                let reader = connect_sqlite(path, SQLITE_READERS_MAX, failures).await?;
                Ok(Pools { writer, reader })
            }
            Self::Postgres { url } => {
                let direct = postgres_options(url)?;
                warn_unverified(&direct, "database_url");
                let mut options = ConnectOptions::new(url);
                options
                    .max_connections(POSTGRES_WRITERS_MAX)
                    .min_connections(1)
                    .map_sqlx_postgres_opts(without_startup_parameters)
                    .map_sqlx_postgres_pool_opts(|pool| {
                        pool.after_connect(|connection, _| {
                            Box::pin(async move { prepare(connection, Bounds::None).await.map(drop) })
                        })
                    });
                let pool = match connect(options).await {
                    Ok(pool) => pool,
                    // The pool tries again until its time is over, and then says only that it is.
                    Err(error) => return Err(why_not(&direct).await.unwrap_or(error)),
                };
                Ok(Pools { writer: pool.clone(), reader: pool })
            }
        }
    }

    async fn refuse_poolers(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres { url } => refuse_transaction_mode(&postgres_options(url)?, "database_url").await,
        }
    }

    /// Refuses a `listen_url` that leads to a pooler in transaction or statement mode, where LISTEN is lost without a word. One
    /// that can't be reached is tried again while the server runs, as NOTIFY is not needed for anything but speed.
    ///
    /// # Errors
    /// `StoreError::TransactionPooler`.
    pub async fn check_listen_url(url: &str) -> Result<(), StoreError> {
        match refuse_transaction_mode(&postgres_options(url)?, "listen_url").await {
            Err(error @ StoreError::TransactionPooler { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "failed to check where listen_url leads to");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Refuses a database that does not hold the store that is remembered.
async fn check_remembered(pools: &Pools, remembered: Option<&RememberedStore>) -> Result<(), StoreError> {
    let Some(remembered) = remembered else { return Ok(()) };
    let checked = match store_id(&pools.writer).await {
        Ok(found) => remembered.check(found.as_deref()),
        Err(error) => Err(error),
    };
    if checked.is_err() {
        // SQLite takes away what it made beside the file.
        pools.close().await;
    }
    checked
}

/// How a connection to PostgreSQL is made.
pub(super) fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    // Its own error would repeat the URL, secrets and all.
    let options = url.parse::<PgConnectOptions>().map_err(|_| StoreError::Url)?;
    Ok(without_startup_parameters(options))
}

/// Returns why no connection is made, as far as the database says it.
async fn why_not(options: &PgConnectOptions) -> Option<StoreError> {
    use sea_orm::sqlx::ConnectOptions as _;
    let error = within(ACQUIRE_TIMEOUT, options.connect()).await?.err()?;
    Some(StoreError::Connect(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))))
}

/// Makes pools that connect when they are first used.
async fn connect_postgres(url: &str, doubt: &Arc<Doubt>, health: &Health) -> Result<Pools, StoreError> {
    let pool = async |connections_max, obstacles: Option<Arc<Obstacles>>| {
        let (doubt, failures, own_store) = (Arc::clone(doubt), Arc::clone(&health.failures), health.own_store.clone());
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(connections_max)
            .connect_lazy(true)
            .map_sqlx_postgres_opts(without_startup_parameters)
            .map_sqlx_postgres_pool_opts(move |pool| {
                let verified = verified(Arc::clone(&doubt), obstacles.clone(), own_store.clone());
                guard_postgres(pool.after_connect(verified), &failures, obstacles.clone())
            });
        connect(options).await
    };
    Ok(Pools {
        writer: pool(POSTGRES_WRITERS_MAX, Some(Arc::clone(&health.obstacles))).await?,
        reader: pool(POSTGRES_READERS_MAX, None).await?,
    })
}

impl Store {
    /// A store over connections that were made already.
    pub(super) fn over(
        database: Database,
        pools: Pools,
        files: Option<Arc<OpenedFiles>>,
        tags: Arc<dyn RowMac>,
        health: Arc<Health>,
        doubt: Arc<Doubt>,
        wall: fn() -> Micros,
    ) -> Self {
        let (pools, memory, committed) = (RwLock::new(pools), Memory::default(), Notify::new());
        let (clock, closed_versions) = (LogClock::new(wall), Arc::default());
        let inner = Inner { database, pools, health, doubt, memory, clock, closed_versions, files, tags, committed };
        Self { inner: Arc::new(inner) }
    }

    /// Whether nothing else can write: then what this process committed is all there is.
    #[must_use]
    pub fn is_sole_writer(&self) -> bool {
        !self.is_postgres()
    }

    /// What was proven of closed versions.
    pub(super) fn closed_versions(&self) -> Arc<ClosedVersions> {
        Arc::clone(&self.inner.closed_versions)
    }

    /// How many connections reads have, at most.
    #[must_use]
    pub fn readers_max(&self) -> usize {
        let readers = if self.is_postgres() { POSTGRES_READERS_MAX } else { SQLITE_READERS_MAX };
        usize::try_from(readers).unwrap_or(usize::MAX)
    }

    /// Whether it is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(self.inner.database, Database::Postgres { .. })
    }

    pub(super) fn tags(&self) -> Arc<dyn RowMac> {
        Arc::clone(&self.inner.tags)
    }

    fn pools(&self) -> Pools {
        self.inner.pools.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connections that write.
    pub(super) fn writer(&self) -> Answer<Bounded<DatabaseConnection>> {
        self.inner.health.check()?;
        self.inner.health.obstacles.check()?;
        Ok(self.writer_in_spite_of_obstacles())
    }

    pub(super) fn writer_in_spite_of_obstacles(&self) -> Bounded<DatabaseConnection> {
        Bounded::new(self.pools().writer, Arc::clone(&self.inner.health))
    }

    /// Whether connections that are open still serve, for writes and for reads.
    pub(super) async fn pools_answer(&self) -> bool {
        use sea_orm::ConnectionTrait as _;
        let Pools { writer, reader } = self.pools();
        let both = async { tokio::join!(writer.execute_unprepared("SELECT 1"), reader.execute_unprepared("SELECT 1")) };
        matches!(within(POOLS_TIMEOUT, both).await, Some((Ok(_), Ok(_))))
    }

    /// The connections that read.
    pub(super) fn reader(&self) -> Answer<Bounded<DatabaseConnection>> {
        self.inner.health.check()?;
        Ok(self.reader_in_outage())
    }

    /// Returns the same during an outage: for what finds out whether it is over.
    pub(super) fn reader_in_outage(&self) -> Bounded<DatabaseConnection> {
        Bounded::new(self.pools().reader, Arc::clone(&self.inner.health))
    }

    /// Takes new connections to PostgreSQL from now on. What runs on the old ones goes on.
    pub(super) async fn replace_pools(&self) {
        let Database::Postgres { url } = &self.inner.database else { return };
        match connect_postgres(url, &self.inner.doubt, &self.inner.health).await {
            Ok(pools) => *self.inner.pools.write().unwrap_or_else(PoisonError::into_inner) = pools,
            Err(error) => tracing::error!(%error, "failed to replace the connections"),
        }
    }

    /// Ends every connection.
    pub async fn close(&self) {
        // A call that hangs in the database keeps its connection: the end does not wait for it.
        let closed = async {
            if let Some(files) = &self.inner.files {
                files.close().await;
            }
            self.pools().close().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("the database did not let go of its connections in time");
        }
    }
}
