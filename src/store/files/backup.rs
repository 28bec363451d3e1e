//! Copies of a SQLite database: one is made while servers write, is read back, and takes the place of another.
//!
//! Boundary: what SQLite must do for it. Which file becomes which, and what must be verified of a copy, `server` decides.
//! Invariant: a copy is opened `immutable`: reading it changes nothing of it and makes no file beside it.

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

/// How long a lock that another process holds is waited for. Longer: a refusal comes later. Shorter: a checkpoint of a
/// server that is just ending counts as a use.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Problems that SQLite lists before it stops looking.
const PROBLEMS_MAX: u32 = 10;
/// Events read at once.
const PAGE_EVENTS: u32 = 256;
/// Contents read at once; each has 1 MiB at most.
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

/// The log of one namespace, as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// Id of the namespace.
    pub namespace: String,
    /// Where the log ends.
    pub head: Head,
}

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// Id of the store.
    pub store_id: String,
    /// Id of the key that seals its events; none before the first start.
    pub seal_key_id: Option<String>,
    /// Name of its newest migration.
    pub schema: String,
    /// Migrations of this binary that it lacks.
    pub missing_migrations: usize,
    /// Where the logs end, in the order of their namespaces.
    pub logs: Vec<LogEnd>,
}

/// What the chain of a log is made of.
#[derive(Debug, Clone)]
pub struct ChainLink {
    /// Where the event stands.
    pub cursor: Cursor,
    /// Hash of the event before.
    pub prev_hash: Hash,
    /// Hash of the event.
    pub hash: Hash,
    /// What the hash covers.
    pub payload: Vec<u8>,
}

/// A SQLite database that is only read.
#[derive(Debug)]
pub struct DatabaseCopy {
    connections: DatabaseConnection,
    path: PathBuf,
}

impl DatabaseCopy {
    /// Opens a file that nobody writes.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn open(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(true);
        Ok(Self { connections: connect(options).await?, path: path.to_owned() })
    }

    /// Opens a database that servers may be writing, with what its write-ahead log holds.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn open_live(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
        Ok(Self { connections: connect(options).await?, path: path.to_owned() })
    }

    /// Bytes that a copy of it has at most.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn size_bytes(&self) -> Result<u64, CopyError> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let rows = self.rows(Statement::from_string(DbBackend::Sqlite, sql)).await?;
        let bytes: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        Ok(bytes.unsigned_abs())
    }

    /// Writes all that was committed before this call to `to`, which must be empty. Servers may write meanwhile: it is one
    /// read transaction, and only keeps their write-ahead log from being reset while it lasts.
    ///
    /// # Errors
    /// `CopyError::Sqlite`; then `to` and a journal beside it may be there.
    pub async fn write_to(&self, to: &Path) -> Result<(), CopyError> {
        let to = to.to_str().ok_or(CopyError::Path)?;
        let vacuum = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [to.into()]);
        self.connections.execute_raw(vacuum).await.map(|_| ()).map_err(|error| CopyError::Sqlite(error.to_string()))
    }

    /// Looks at every page, index, constraint and reference.
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

    /// Reads what the database says of itself.
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

    /// A page of a log after a revision, in order.
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

    /// A page of contents after a digest, each with the digest it is kept under.
    ///
    /// # Errors
    /// `CopyError::Damaged`.
    pub async fn contents_after(&self, digest: &str) -> Result<Vec<(String, Vec<u8>)>, CopyError> {
        let sql = format!("SELECT digest, bytes FROM contents WHERE digest > ? ORDER BY digest LIMIT {PAGE_CONTENTS}");
        let page = Statement::from_sql_and_values(DbBackend::Sqlite, sql, [digest.into()]);
        self.rows(page).await?.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
    }

    /// The same database as a store whose writes fail.
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

    /// Closes it.
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

/// A database that is about to be replaced: whole in its one file, and locked until this is dropped.
#[derive(Debug)]
pub struct ExclusiveDatabase {
    _locked: SqliteConnection,
}

impl ExclusiveDatabase {
    /// Moves all that was committed into the file itself, removes what SQLite keeps beside it, and locks it.
    ///
    /// # Errors
    /// `CopyError::InUse`; `CopyError::Damaged` for a file that is damaged or no database; `CopyError::Sqlite` when anything else
    /// keeps SQLite from it.
    pub async fn settle(path: &Path) -> Result<Self, CopyError> {
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
        let mut connection = options.connect().await.map_err(|error| unsettled(&error))?;
        let settled = Self::move_into_one_file(&mut connection).await;
        match settled {
            Ok(()) => Ok(Self { _locked: connection }),
            Err(error) => {
                // Waits for its end: SQLite removes what lies beside a database while it closes it.
                let _ = connection.close().await;
                Err(error)
            }
        }
    }

    async fn move_into_one_file(connection: &mut SqliteConnection) -> Result<(), CopyError> {
        // In this mode the lock that leaving WAL needs is kept: no other process gets in between.
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

    /// Lets it go.
    pub async fn release(self) {
        // Nothing was written: whatever this answers, the file is as it was.
        let _ = self._locked.close().await;
    }
}

async fn connect(options: SqliteConnectOptions) -> Result<DatabaseConnection, CopyError> {
    let mut connect = ConnectOptions::new("sqlite::memory:");
    connect.max_connections(1).min_connections(1).sqlx_logging(false).record_stmt_in_spans(false);
    connect.map_sqlx_sqlite_opts(move |_| options.clone().disable_statement_logging());
    sea_orm::Database::connect(connect).await.map_err(damaged)
}

/// A database that could not be read: a file that is damaged, unless SQLite says that something else is in the way. One whose
/// interrupted transaction must be rolled back first is not whole either: who only reads can't do that, and is told READONLY.
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

/// A database that could not be brought into one file.
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
