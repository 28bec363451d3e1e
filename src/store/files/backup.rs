//! Copies of a SQLite database: makes one while servers write, reads it, and prepares a database to be replaced.
//!
//! Boundary: this does what SQLite needs. `server` decides which file replaces which, and what must be verified of a copy. Invariant: a
//! copy is opened `immutable`: reading it neither changes it nor creates a file beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use sea_orm::{ConnectOptions, ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement};

use crate::domain::digest::Hash;
use crate::domain::event::{Cursor, Head};
use crate::domain::row_mac::RowMac;
use crate::store::connection::database::Database;
use crate::store::connection::migrate;
use crate::store::connection::pools::{Pools, text};
use crate::store::connection::reuse::LastFailure;
use crate::store::error::{Failure, StoreError, classify, classify_sqlx, code_of};
use crate::store::handle::Store;
use crate::store::health::state::Health;
use crate::store::transaction::log_clock::Clocks;

/// Timeout for a lock that another process holds. Longer: a refusal comes later. Shorter: a checkpoint of a server that is just ending
/// counts as a use.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of problems that SQLite lists before it stops searching.
const PROBLEMS_MAX: u32 = 10;
/// Number of events read at once.
const PAGE_EVENTS: u32 = 256;
/// Number of contents read at once; each has 1 MiB at most.
const PAGE_CONTENTS: u32 = 16;

/// A copy that can't be made, read or trusted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum CopyError {
    #[error("its path is not UTF-8, which SQLite needs")]
    Path,
    #[error("the database is used by another process: end it, or wait for it")]
    InUse,
    #[error("SQLite failed: {0}")]
    Sqlite(String),
    #[error("it is not a whole SQLite database: {0}")]
    Damaged(String),
    #[error("it is a SQLite database, but not one of policyhub")]
    NotPolicyhub,
    #[error(transparent)]
    Schema(StoreError),
}

/// The log of one namespace, as its row states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// Id of the namespace.
    pub namespace: String,
    /// The end of the log.
    pub head: Head,
}

/// The state that a database records about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// Id of the store.
    pub store_id: String,
    /// Id of the key that signs its events; none before the first start.
    pub seal_key_id: Option<String>,
    /// Name of its newest migration.
    pub schema: String,
    /// Number of this binary's migrations that it lacks.
    pub missing_migrations: usize,
    /// The ends of the logs, in the order of their namespaces.
    pub logs: Vec<LogEnd>,
}

/// The parts of an event that chain the log.
#[derive(Debug, Clone)]
pub struct ChainLink {
    /// The event's cursor.
    pub cursor: Cursor,
    /// Hash of the previous event.
    pub prev_hash: Hash,
    /// Hash of the event.
    pub hash: Hash,
    /// The bytes that the hash covers.
    pub payload: Vec<u8>,
}

/// A SQLite database that is opened read-only.
#[derive(Debug)]
pub struct DatabaseCopy {
    connections: DatabaseConnection,
    path: PathBuf,
}

impl DatabaseCopy {
    /// Opens a file that no process writes.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn open(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        Ok(Self { connections: connect(options).await?, path: path.to_owned() })
    }

    /// Opens a database that servers may be writing, including its write-ahead log.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn open_live(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        Ok(Self { connections: connect(options).await?, path: path.to_owned() })
    }

    /// Returns the maximal size of a copy in bytes.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn size_bytes(&self) -> Result<u64, CopyError> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let rows = self.rows(Statement::from_string(DbBackend::Sqlite, sql)).await?;
        let bytes: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        Ok(bytes.unsigned_abs())
    }

    /// Writes everything that was committed before this call to `to`, which must be empty. Servers may write meanwhile: it is one read
    /// transaction, which only prevents their write-ahead log from being reset while it lasts.
    ///
    /// # Errors
    /// `CopyError::Sqlite`; then `to` and a journal beside it may exist.
    pub async fn write_to(&self, to: &Path) -> Result<(), CopyError> {
        let to = to.to_str().ok_or(CopyError::Path)?;
        let vacuum = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [to.into()]);
        self.connections.execute_raw(vacuum).await.map(|_| ()).map_err(|error| CopyError::Sqlite(error.to_string()))
    }

    /// Checks every page, index, constraint and reference.
    ///
    /// # Errors
    /// `CopyError::Damaged` with the first problems.
    pub async fn check_pages(&self) -> Result<(), CopyError> {
        let sql = format!("PRAGMA integrity_check({PROBLEMS_MAX})");
        let mut problems = Vec::new();
        for row in self.rows(Statement::from_string(DbBackend::Sqlite, sql)).await? {
            problems.push(column::<String>(&row, 0)?);
        }
        if problems != ["ok"] {
            return Err(CopyError::Damaged(problems.join("; ")));
        }
        let sql = format!("SELECT \"table\", \"parent\" FROM pragma_foreign_key_check LIMIT {PROBLEMS_MAX}");
        match self.rows(Statement::from_string(DbBackend::Sqlite, sql)).await?.first() {
            Some(row) => {
                let (table, parent): (String, String) = (column(row, 0)?, column(row, 1)?);
                Err(CopyError::Damaged(format!("a row of {table} refers to one of {parent} that is not there")))
            }
            None => Ok(()),
        }
    }

    /// Reads the state that the database records about itself.
    ///
    /// # Errors
    /// `CopyError::NotPolicyhub`, `CopyError::Schema` for a schema newer than this binary's, `CopyError::Damaged`.
    pub async fn state(&self) -> Result<CopyState, CopyError> {
        let tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' \
                      AND name IN ('store_meta', 'namespaces', 'events', 'contents', 'seaql_migrations')";
        let rows = self.rows(Statement::from_string(DbBackend::Sqlite, tables)).await?;
        if rows.first().map(|row| column::<i64>(row, 0)).transpose()? != Some(5) {
            return Err(CopyError::NotPolicyhub);
        }
        let missing_migrations = migrate::pending(&self.connections).await.map_err(CopyError::Schema)?;
        let schema = self.one_text("SELECT max(version) FROM seaql_migrations").await?.unwrap_or_default();
        let store_id = self.one_text("SELECT max(value) FROM store_meta WHERE name = 'store_id'").await?;
        let seal_key_id = self.one_text("SELECT max(value) FROM store_meta WHERE name = 'seal key'").await?;
        let sql = "SELECT id, epoch, head_revision, head_hash FROM namespaces ORDER BY id";
        let mut logs = Vec::new();
        for row in self.rows(Statement::from_string(DbBackend::Sqlite, sql)).await? {
            let cursor = Cursor { epoch: column(&row, 1)?, revision: column(&row, 2)? };
            logs.push(LogEnd { namespace: column(&row, 0)?, head: Head { cursor, hash: hash(&row, 3)? } });
        }
        let store_id = store_id.ok_or(CopyError::NotPolicyhub)?;
        Ok(CopyState { store_id, seal_key_id, schema, missing_migrations, logs })
    }

    /// Returns a page of a log after a revision, in order.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn links_after(&self, namespace: &str, revision: i64) -> Result<Vec<ChainLink>, CopyError> {
        let sql = format!(
            "SELECT epoch, revision, prev_hash, hash, payload FROM events WHERE namespace = ? AND revision > ? \
             ORDER BY revision LIMIT {PAGE_EVENTS}"
        );
        let page = Statement::from_sql_and_values(DbBackend::Sqlite, sql, [namespace.into(), revision.into()]);
        let link = |row: &QueryResult| {
            let cursor = Cursor { epoch: column(row, 0)?, revision: column(row, 1)? };
            Ok(ChainLink { cursor, prev_hash: hash(row, 2)?, hash: hash(row, 3)?, payload: column(row, 4)? })
        };
        self.rows(page).await?.iter().map(link).collect()
    }

    /// Returns a page of contents after a digest, each with the digest under which it is stored.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn contents_after(&self, digest: &str) -> Result<Vec<(String, Vec<u8>)>, CopyError> {
        let sql = format!("SELECT digest, bytes FROM contents WHERE digest > ? ORDER BY digest LIMIT {PAGE_CONTENTS}");
        let page = Statement::from_sql_and_values(DbBackend::Sqlite, sql, [digest.into()]);
        self.rows(page).await?.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// Returns the same database as a store whose writes fail.
    #[must_use]
    pub fn store(&self, macs: Arc<dyn RowMac>, clocks: Clocks) -> Store {
        let pools = Pools { writer: self.connections.clone(), reader: self.connections.clone() };
        let health = Arc::new(Health::new(Arc::new(LastFailure::new(clocks.monotonic))));
        Store::over(
            Database::Sqlite { path: self.path.clone() },
            pools,
            None,
            macs,
            health,
            Arc::default(),
            clocks.wall,
        )
    }

    /// Closes the database.
    pub async fn close(self) {
        if let Err(error) = self.connections.close().await {
            tracing::warn!(%error, "failed to close a copy of the database");
        }
    }

    async fn rows(&self, statement: Statement) -> Result<Vec<QueryResult>, CopyError> {
        self.connections.query_all_raw(statement).await.map_err(damaged)
    }

    async fn one_text(&self, sql: &str) -> Result<Option<String>, CopyError> {
        let found = text(&self.connections, &format!("SELECT coalesce(({sql}), '')")).await;
        let found = found.map_err(|error| CopyError::Damaged(error.to_string()))?;
        Ok(Some(found).filter(|found| !found.is_empty()))
    }
}

/// A database that is about to be replaced: complete in its single file, and locked until this is dropped.
#[derive(Debug)]
pub struct ExclusiveDatabase {
    _locked: SqliteConnection,
}

impl ExclusiveDatabase {
    /// Moves everything that was committed into the file itself, removes SQLite's files beside it, and locks it.
    ///
    /// # Errors
    /// `CopyError::InUse`; `CopyError::Damaged` for a file that is damaged or no database; `CopyError::Sqlite` when anything else prevents
    /// it.
    pub async fn settle(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
        let mut connection = options.connect().await.map_err(|error| unsettled(&error))?;
        let settled = Self::move_into_one_file(&mut connection).await;
        match settled {
            Ok(()) => Ok(Self { _locked: connection }),
            Err(error) => {
                // Wait until it is closed: SQLite removes the files beside a database while it closes it.
                let _ = connection.close().await;
                Err(error)
            }
        }
    }

    async fn move_into_one_file(connection: &mut SqliteConnection) -> Result<(), CopyError> {
        // In this mode SQLite keeps the lock that leaving WAL needs, so no other process can get in between.
        sqlx::query("PRAGMA locking_mode = EXCLUSIVE")
            .execute(&mut *connection)
            .await
            .map_err(|error| unsettled(&error))?;
        let mode = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = DELETE").fetch_one(&mut *connection).await;
        if mode.map_err(|error| unsettled(&error))? != "delete" {
            return Err(CopyError::InUse);
        }
        sqlx::query("BEGIN EXCLUSIVE").execute(connection).await.map(|_| ()).map_err(|error| unsettled(&error))
    }

    /// Releases the lock.
    pub async fn release(self) {
        // Nothing was written: the file is unchanged, whatever this returns.
        let _ = self._locked.close().await;
    }
}

async fn connect(options: SqliteConnectOptions) -> Result<DatabaseConnection, CopyError> {
    let mut connect = ConnectOptions::new("sqlite::memory:");
    connect.max_connections(1).min_connections(1).sqlx_logging(false).record_stmt_in_spans(false);
    connect.map_sqlx_sqlite_opts(move |_| options.clone().disable_statement_logging());
    sea_orm::Database::connect(connect).await.map_err(damaged)
}

/// Converts the error of a database that could not be read: the file is damaged, unless SQLite reports another obstacle. A database whose
/// interrupted transaction must be rolled back first counts as damaged too: a reader can't do that and gets READONLY.
fn damaged(error: DbErr) -> CopyError {
    const READONLY: u32 = 8;
    let code = code_of(&error).and_then(|code| code.parse::<u32>().ok());
    match classify(&error) {
        _ if code.is_some_and(|code| code & 0xff == READONLY) => CopyError::Damaged(error.to_string()),
        Failure::Busy => CopyError::InUse,
        Failure::Outage => CopyError::Sqlite(error.to_string()),
        _ => CopyError::Damaged(error.to_string()),
    }
}

/// Converts the error of a database that could not be brought into one file.
fn unsettled(error: &sqlx::Error) -> CopyError {
    match classify_sqlx(error) {
        Failure::Busy => CopyError::InUse,
        Failure::Corrupt => CopyError::Damaged(error.to_string()),
        _ => CopyError::Sqlite(error.to_string()),
    }
}

fn column<T: sea_orm::TryGetable>(row: &QueryResult, index: usize) -> Result<T, CopyError> {
    row.try_get_by_index(index).map_err(damaged)
}

fn hash(row: &QueryResult, index: usize) -> Result<Hash, CopyError> {
    let bytes: Vec<u8> = column(row, index)?;
    Hash::try_from(bytes.as_slice()).map_err(|_| CopyError::Damaged("a hash has not 32 bytes".to_owned()))
}
