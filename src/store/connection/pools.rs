//! The pools of connections.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DbBackend;
use sea_orm::{ConnectOptions, DatabaseConnection};
use sea_orm::{ConnectionTrait as _, Statement};

use crate::store::connection::reuse::{LastFailure, guard_sqlite};
use crate::store::error::{Failure, StoreError, classify, is_disk_full};
use crate::store::files::sqlite_file::sqlite_options;

/// Number of connections that read a SQLite file. WAL lets them read while the writer writes. At most two are used by lists, one by an
/// export and one by the check of a log (`service::long_reads`). Fewer: none is left for short reads.
pub(in crate::store) const SQLITE_READERS_MAX: u32 = 5;
/// How long a call waits for a connection. It is shorter than the statement timeout, so that "none is free" and "no answer" can be
/// distinguished.
pub(in crate::store) const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(2_000);

/// Number of attempts to open a SQLite file that another process has locked, and the pause before each. Together they last as long as
/// SQLite itself waits for a lock. Longer: a start reports later that another process keeps the file locked.
const LOCKED_TRIES: u32 = 40;
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// Opens the connections to a SQLite file. It retries while another process has the file locked: SQLite does not wait for a lock when it
/// changes a file to WAL (a new one, or a restored backup), since it already reads it.
///
/// # Errors
/// `StoreError::DiskFull` when there is no space for the files that SQLite creates beside it.
pub(in crate::store) async fn connect_sqlite(
    path: &Path,
    connections_max: u32,
    failures: &Arc<LastFailure>,
) -> Result<DatabaseConnection, StoreError> {
    // Pass the path unencoded: in a URL some of its characters would have a meaning.
    let (file, failures) = (path.to_owned(), Arc::clone(failures));
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .max_connections(connections_max)
        .min_connections(1)
        .map_sqlx_sqlite_opts(move |_| {
            use sea_orm::sqlx::ConnectOptions as _;
            sqlite_options(&file).disable_statement_logging()
        })
        .map_sqlx_sqlite_pool_opts(move |pool| guard_sqlite(pool, &failures));
    for _ in 0..LOCKED_TRIES {
        match connect(options.clone()).await {
            Err(StoreError::Connect(error)) if classify(&error) == Failure::Busy => {
                tokio::time::sleep(LOCKED_PAUSE).await
            }
            made => return made.map_err(|error| named(path, error)),
        }
    }
    connect(options).await.map_err(|error| named(path, error))
}

/// Replaces the error by `DiskFull` when a full disk is why a SQLite file can't be opened.
pub(in crate::store) fn named(path: &Path, error: StoreError) -> StoreError {
    match &error {
        StoreError::Connect(cause) if is_disk_full(cause) => StoreError::DiskFull { path: path.to_owned() },
        _ => error,
    }
}

/// Opens connections, without their statements in logs and spans.
///
/// # Errors
/// `StoreError::Connect`.
pub(in crate::store) async fn connect(mut options: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    // Statements contain tenants' data, which must be in neither logs nor spans.
    options.sqlx_logging(false).record_stmt_in_spans(false).acquire_timeout(ACQUIRE_TIMEOUT);
    sea_orm::Database::connect(options).await.map_err(StoreError::Connect)
}

/// The pools of connections. When they are dropped, each connection is closed as soon as no statement runs on it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Pools {
    pub(in crate::store) writer: DatabaseConnection,
    pub(in crate::store) reader: DatabaseConnection,
}

impl Pools {
    pub(in crate::store) fn is_postgres(&self) -> bool {
        self.writer.get_database_backend() == DbBackend::Postgres
    }

    pub(in crate::store) async fn close(&self) {
        for connection in [&self.writer, &self.reader] {
            if let Err(error) = connection.close_by_ref().await {
                tracing::warn!(%error, "failed to close the database");
            }
        }
    }
}

/// Returns the single text that a query selects.
pub(in crate::store) async fn text(db: &DatabaseConnection, sql: &str) -> Result<String, StoreError> {
    let backend: DbBackend = db.get_database_backend();
    let row = db.query_one_raw(Statement::from_string(backend, sql)).await.map_err(StoreError::Connect)?;
    match row {
        Some(row) => row.try_get_by_index(0).map_err(StoreError::Connect),
        None => Ok(String::new()),
    }
}
