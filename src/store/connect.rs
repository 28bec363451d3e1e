//! Connections: one writer and several readers on SQLite, one pool on PostgreSQL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectOptions, DatabaseConnection, DbBackend};

use super::error::StoreError;
use super::{guard, migrate};

/// Readers of a SQLite file. WAL lets them go on while the writer writes.
const SQLITE_READERS_MAX: u32 = 4;
/// Connections to PostgreSQL. Each write holds one from lock to commit.
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
/// How long a call waits for a connection. Longer: callers of a dead database wait longer for their answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// What PostgreSQL gives up, in milliseconds: a write that waits for its namespace, any statement, and a transaction
/// whose replica fell asleep. Too low: a busy namespace refuses writes. Too high: one stuck replica holds up the others.
const POSTGRES_TIMEOUTS: [(&str, &str); 3] =
    [("lock_timeout", "2500"), ("statement_timeout", "10000"), ("idle_in_transaction_session_timeout", "10000")];
/// How long SQLite waits for a lock another process holds (a backup, the `sqlite3` shell).
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(2);

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

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) writer: DatabaseConnection,
    pub(super) reader: DatabaseConnection,
}

impl Database {
    /// Connects, migrates when `migrate` says so, and refuses what would not be safe to run on (G1).
    ///
    /// # Errors
    /// `StoreError`, each with what to do.
    pub async fn open(&self, migrate: bool) -> Result<Store, StoreError> {
        // Without the timeouts of calls: a migration takes the time it needs, and waits for another one.
        let store = self.connect(&[]).await?;
        // First, so that a database that is refused stays as it was.
        guard::check_durable(&store).await?;
        if migrate {
            migrate::up(self, &store).await?;
        } else {
            migrate::check(&store).await?;
        }
        store.close().await;
        self.connect(&POSTGRES_TIMEOUTS).await
    }

    async fn connect(&self, timeouts: &'static [(&'static str, &'static str)]) -> Result<Store, StoreError> {
        match self {
            Self::Sqlite { path } => {
                make_private(path).map_err(StoreError::File)?;
                let writer = connect_sqlite(path, 1).await?;
                let reader = connect_sqlite(path, SQLITE_READERS_MAX).await?;
                Ok(Store { writer, reader })
            }
            Self::Postgres { url } => {
                // Its own error would repeat the URL, secrets and all.
                url.parse::<PgConnectOptions>().map_err(|_| StoreError::Url)?;
                let mut options = ConnectOptions::new(url);
                options
                    .max_connections(POSTGRES_CONNECTIONS_MAX)
                    .min_connections(1)
                    .map_sqlx_postgres_opts(|postgres| postgres.options(timeouts.iter().copied()));
                let pool = connect(options).await?;
                Ok(Store { writer: pool.clone(), reader: pool })
            }
        }
    }
}

/// Makes the file when it is absent, for its owner alone. SQLite gives its journal the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::File::options().create(true).append(true).mode(0o600).open(path).map(|_| ())
}

async fn connect_sqlite(path: &Path, connections_max: u32) -> Result<DatabaseConnection, StoreError> {
    // The path goes in as it is below: in a URL some of its letters would mean something.
    let path = path.to_owned();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(connections_max).min_connections(1).map_sqlx_sqlite_opts(move |sqlite| {
        use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
        sqlite
            .in_memory(false)
            .shared_cache(false)
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
    });
    connect(options).await
}

async fn connect(mut options: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    // Statements carry tenants' data: they belong neither in logs nor in spans.
    options.sqlx_logging(false).record_stmt_in_spans(false).acquire_timeout(ACQUIRE_TIMEOUT);
    sea_orm::Database::connect(options).await.map_err(StoreError::Connect)
}

impl Store {
    /// Whether nothing else can write: then what this process committed is all there is.
    #[must_use]
    pub fn is_sole_writer(&self) -> bool {
        !self.is_postgres()
    }

    /// Whether it is PostgreSQL.
    pub(super) fn is_postgres(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Postgres
    }

    /// Ends every connection.
    pub async fn close(&self) {
        for connection in [&self.writer, &self.reader] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "failed to close the database");
            }
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> bool {
        self.reader.ping().await.is_ok()
    }
}
