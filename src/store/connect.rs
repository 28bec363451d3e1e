//! Connections: one writer and several readers on SQLite, one pool on PostgreSQL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::{ConnectOptions, DatabaseConnection, DbBackend};

use super::error::StoreError;
use super::{guard, migrate};

/// Readers of a SQLite file. WAL lets them go on while the writer writes.
const SQLITE_READERS_MAX: u32 = 4;
/// Connections to PostgreSQL. Each write holds one from lock to commit.
const POSTGRES_CONNECTIONS_MAX: u32 = 16;
/// How long a call waits for a connection. Longer: callers of a dead database wait longer for their answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
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
        let store = self.connect().await?;
        if migrate {
            migrate::up(self, &store).await?;
        } else {
            migrate::check(&store).await?;
        }
        guard::check_durable(&store).await?;
        Ok(store)
    }

    async fn connect(&self) -> Result<Store, StoreError> {
        match self {
            Self::Sqlite { path } => {
                make_private(path).map_err(StoreError::File)?;
                let writer = connect_sqlite(path, 1).await?;
                let reader = connect_sqlite(path, SQLITE_READERS_MAX).await?;
                Ok(Store { writer, reader })
            }
            Self::Postgres { url } => {
                let mut options = ConnectOptions::new(url);
                options.max_connections(POSTGRES_CONNECTIONS_MAX).min_connections(1);
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
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
    options.max_connections(connections_max).min_connections(1).map_sqlx_sqlite_opts(|sqlite| {
        use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
        sqlite
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
