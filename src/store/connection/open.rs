//! Opens a store: one connection that writes and several that read on SQLite, two pools on PostgreSQL.

use std::sync::Arc;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectOptions, DbErr, RuntimeErr};

use crate::domain::row_mac::RowMac;
use crate::store::connection::database::{Database, postgres_options};
use crate::store::connection::own_store::store_id;
use crate::store::connection::pooler::refuse_transaction_mode;
use crate::store::connection::pools::{ACQUIRE_TIMEOUT, Pools, SQLITE_READERS_MAX, connect, connect_sqlite};
use crate::store::connection::postgres_pools::{POSTGRES_WRITERS_MAX, connect_postgres};
use crate::store::connection::postgres_session::{SessionTimeouts, prepare, without_startup_parameters};
use crate::store::connection::postgres_tls::warn_unverified;
use crate::store::connection::reuse::LastFailure;
use crate::store::connection::system_identity::SYSTEM_IDENTITY;
use crate::store::connection::timeout::within;
use crate::store::connection::{durable_settings, migrate};
use crate::store::error::StoreError;
use crate::store::files::opened_files::OpenedFiles;
use crate::store::files::sqlite_file::{flush_log, make_private};
use crate::store::handle::Store;
use crate::store::health::state::Health;
use crate::store::loss::high_water_marks::RememberedStore;
use crate::store::loss::suspected_loss::SuspectedLoss;
use crate::store::transaction::log_clock::Clocks;

impl Database {
    /// Connects, migrates if `migrate` is set, and refuses a database that is not safe to run on (docs/guarantees.md#g1), or that does not
    /// hold the store that is `remembered` (docs/guarantees.md#g1b). `macs` authenticate rows.
    ///
    /// # Errors
    /// `StoreError`, whose text says what to do.
    pub async fn open(
        &self,
        migrate: bool,
        remembered: Option<&RememberedStore>,
        macs: Arc<dyn RowMac>,
        clocks: Clocks,
    ) -> Result<Store, StoreError> {
        // Do not use the timeouts of calls: a migration takes the time it needs, and waits for another one.
        let health = Arc::new(Health::new(Arc::new(LastFailure::new(clocks.monotonic))));
        self.check_not_gone(remembered)?;
        let lock = if migrate { migrate::lock(self).await? } else { None };
        let pools = self.connect(&health.failures).await?;
        self.refuse_poolers().await?;
        // Check this first, so that a database that is refused stays unchanged.
        check_remembered(&pools, remembered).await?;
        durable_settings::check_durable(&pools).await?;
        if migrate {
            migrate::up(self, &pools).await?;
        } else {
            migrate::check(&pools).await?;
        }
        drop(lock);
        let suspected_loss = Arc::<SuspectedLoss>::default();
        let (pools, files) = match self {
            Self::Sqlite { path } => (pools, Some(Arc::new(OpenedFiles::open(path).await?))),
            Self::Postgres { url } => {
                pools.close().await;
                (connect_postgres(url, &suspected_loss, &health).await?, None)
            }
        };
        let store = Store::over(self.clone(), pools, files, macs, health, suspected_loss, clocks.wall);
        if let Some(system_identity) = store.system_identity().await? {
            store.keep(SYSTEM_IDENTITY, &system_identity).await?;
        }
        Ok(store)
    }

    /// Migrates the schema to this binary's, and does nothing else.
    ///
    /// # Errors
    /// The same as `open`.
    pub async fn migrate(&self, remembered: Option<&RememberedStore>, clocks: Clocks) -> Result<(), StoreError> {
        self.check_not_gone(remembered)?;
        // Hold the lock until its connections are closed: the last connection to a file empties its log, which refuses new ones.
        let _lock = migrate::lock(self).await?;
        let pools = self.connect(&Arc::new(LastFailure::new(clocks.monotonic))).await?;
        self.refuse_poolers().await?;
        check_remembered(&pools, remembered).await?;
        durable_settings::check_durable(&pools).await?;
        let done = migrate::up(self, &pools).await;
        pools.close().await;
        done
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
                            Box::pin(async move { prepare(connection, SessionTimeouts::None).await.map(drop) })
                        })
                    });
                let pool = match connect(options).await {
                    Ok(pool) => pool,
                    // The pool retries until its time is over, and then reports only the timeout.
                    Err(error) => return Err(connection_failure(&direct).await.unwrap_or(error)),
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

    /// Refuses a `listen_url` that leads to a pooler in transaction or statement mode, where LISTEN is lost silently. One that can't be
    /// reached is retried while the server runs, as NOTIFY only makes replicas faster.
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
        // Closing lets SQLite remove the files it created beside the database.
        pools.close().await;
    }
    checked
}

/// Connects once, and returns why that failed; none when it succeeded or timed out.
async fn connection_failure(options: &PgConnectOptions) -> Option<StoreError> {
    use sea_orm::sqlx::ConnectOptions as _;
    let error = within(ACQUIRE_TIMEOUT, options.connect()).await?.err()?;
    Some(StoreError::Connect(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))))
}
