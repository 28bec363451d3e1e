//! How connections are pooled.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectOptions, DatabaseConnection};

use super::connection_guard::{LastFailure, guard_sqlite};
use super::error::{Failure, StoreError, classify, is_disk_full};
use super::sqlite_file::sqlite_options;

/// Readers of a SQLite file. WAL lets them go on while the writer writes. Two are for lists, one for an export and one for the check
/// of a log at most (`grpc::middleware::long_reads`). Fewer: nothing is left for short reads.
pub(super) const SQLITE_READERS_MAX: u32 = 5;
/// How long a call waits for a connection: less than for a statement, so that "none is free" is told from "no answer".
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_millis(2_000);

/// How often a SQLite file that somebody else has locked is tried again, and the pause before each. Together as long as SQLite
/// itself waits for a lock. Longer: a start beside somebody who keeps the file says so later.
const LOCKED_TRIES: u32 = 40;
const LOCKED_PAUSE: Duration = Duration::from_millis(50);

/// Makes the connections to a SQLite file. It is tried again while somebody else has the file locked: SQLite does not wait for a
/// lock when it changes a file to WAL (a new one, or a backup that was restored), since it reads it already.
///
/// # Errors
/// `StoreError::DiskFull` when there is no room for what SQLite makes beside it.
pub(super) async fn connect_sqlite(
    path: &Path,
    connections_max: u32,
    failures: &Arc<LastFailure>,
) -> Result<DatabaseConnection, StoreError> {
    // The path goes in as it is below: in a URL some of its letters would mean something.
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

/// Says that it is the disk that is full, when that keeps a SQLite file from being opened.
pub(super) fn named(path: &Path, error: StoreError) -> StoreError {
    match &error {
        StoreError::Connect(cause) if is_disk_full(cause) => StoreError::DiskFull { path: path.to_owned() },
        _ => error,
    }
}

/// Makes connections, without their statements in logs and spans.
///
/// # Errors
/// `StoreError::Connect`.
pub(super) async fn connect(mut options: ConnectOptions) -> Result<DatabaseConnection, StoreError> {
    // Statements carry tenants' data: they belong neither in logs nor in spans.
    options.sqlx_logging(false).record_stmt_in_spans(false).acquire_timeout(ACQUIRE_TIMEOUT);
    sea_orm::Database::connect(options).await.map_err(StoreError::Connect)
}
