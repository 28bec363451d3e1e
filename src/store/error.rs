//! Converts errors of the database into the errors of this product.
//!
//! The database's own text never reaches a caller: it is only logged.

use std::path::PathBuf;

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

use crate::defect::{Defect, planted};
use crate::domain::{Error, Reason};
use crate::store::driver_message::redacted_text;
use crate::store::health::error_codes;
use crate::store::health::write_blocker::DISK_FULL;

/// A start-up failure of the store, for the operator: its text says what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum StoreError {
    #[error("failed to reach the database: {}", redacted_text(.0))]
    Connect(DbErr),
    #[error(
        "failed to read the database URL: it must be postgres://user:password@host:port/name, each part percent-encoded"
    )]
    Url,
    #[error(
        "{config_key} leads to a pooler (PgBouncer, for example) in transaction mode or statement mode, which is not supported: set pool_mode = session (session mode), or connect to PostgreSQL itself"
    )]
    TransactionPooler { config_key: &'static str },
    #[error(
        "{config_key} gave no two connections that answer within {seconds} s: the database is overloaded, or a pooler before it has fewer connections than the 26 that a server takes"
    )]
    TwoConnections { config_key: &'static str, seconds: u64 },
    #[error(
        "the database is at an older schema ({pending} migrations are missing), and the role of this URL lacks the rights to migrate it: run `policyhub migrate` as the role that owns the tables, then `policyhub serve --migrate=false`"
    )]
    MayNotMigrate { pending: usize },
    #[error("failed to open the database file: {0}")]
    File(std::io::Error),
    #[error(
        "the disk of {} is full, or the size of files is limited: SQLite makes its write-ahead log and an index of it beside the database, and can't read it without; free 1 MiB and start again",
        path.display()
    )]
    DiskFull { path: PathBuf },
    #[error("there is no database at {}: give the --data-dir or --database-url of the server", path.display())]
    NoDatabase { path: PathBuf },
    #[error(
        "failed to read {}, which tells what was acknowledged ({error}): repair it, or move it away if nobody knows what it said",
        path.display()
    )]
    HighWater { path: PathBuf, error: std::io::Error },
    #[error(
        "refusing to begin over a store that was here: {} remembers store {remembered}, but {found}. Mount its volume, give its --database-url, or restore a backup of it (a SQLite file by `policyhub restore`, PostgreSQL by its own tools: docs/operations.md); if it shall be given up, move {} away first",
        high_water.display(),
        high_water.display()
    )]
    AnotherStore { high_water: PathBuf, remembered: String, found: String },
    #[error("failed to migrate the database: {}", redacted_text(.0))]
    Migrate(DbErr),
    #[error("failed to lock the migration: {0}")]
    MigrateLock(std::io::Error),
    #[error(
        "the database is at schema {found}, newer than this binary's {known}: run a policyhub at least as new as the one that migrated it"
    )]
    NewerSchema { found: String, known: String },
    #[error("the database is at an older schema ({pending} migrations are missing): run `policyhub migrate` first")]
    OlderSchema { pending: usize },
    #[error("refusing a database that may lose acknowledged writes: {setting} is {value}; set it to {wanted}")]
    NotDurable { setting: &'static str, value: String, wanted: &'static str },
    #[error(
        "the database was made with {what} {found}, but this server was given {given}: give it the same keys, or another database"
    )]
    Foreign { what: &'static str, found: String, given: String },
    #[error("{0}")]
    Stored(Error),
}

/// The state of the database that a failed statement shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It works: another transaction holds what the statement needs, or took too long.
    Busy,
    /// All connections of this process are in use.
    NoConnection,
    /// The database is away, or can't read or write.
    Outage,
    /// The database answers, and refuses connections of this server.
    Refused,
    /// Its file is damaged, or is no database.
    Corrupt,
    /// It works: the statement itself was wrong.
    Statement,
}

/// Returns the error for a failed statement, unless it is a COMMIT.
pub(super) fn failed(error: DbErr) -> Error {
    let internal = redacted_text(&error);
    if let Some(SqlErr::UniqueConstraintViolation(_)) = error.sql_err() {
        // Another write added the same key first; the caller should read again.
        return Error {
            internal: Some(internal),
            ..Error::new(Reason::ConcurrentChange, "somebody else changed this at the same time; try again")
        };
    }
    if let Some(write_blocker) = code_of(&error).and_then(|code| error_codes::write_blocker(&code)) {
        return Error { internal: Some(internal), ..write_blocker.to_error() };
    }
    let message = match classify(&error) {
        Failure::Statement if is_unreadable(&error) => return Error::data_loss(internal),
        Failure::Statement => return Error::internal(internal),
        Failure::Busy => "the database is locked by somebody else; retry with the same request_id",
        Failure::NoConnection => "all connections to the database are in use; retry with the same request_id",
        Failure::Refused | Failure::Outage => {
            "the database can't be reached, or can't read or write; retry with the same request_id"
        }
        Failure::Corrupt => "the database file is damaged; the operator restores it from a backup",
    };
    Error { internal: Some(internal), ..Error::new(Reason::DatabaseUnavailable, message) }
}

/// Returns whether a row has a value of the wrong type for its column: SQLite takes text into a column of numbers.
fn is_unreadable(error: &DbErr) -> bool {
    match error {
        DbErr::Type(_) => true,
        DbErr::Query(RuntimeErr::SqlxError(inner)) => {
            matches!(&**inner, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        }
        _ => false,
    }
}

/// Returns the error for a COMMIT without a confirmation: it may have taken effect or not.
pub(super) fn commit_failed(detail: String) -> Error {
    if planted(Defect::UnknownIsFailed) {
        return Error { internal: Some(detail), ..Error::new(Reason::DatabaseUnavailable, "the commit failed") };
    }
    Error {
        internal: Some(detail),
        ..Error::new(
            Reason::OutcomeUnknown,
            "the database did not confirm the commit; retry with the same request_id to learn its outcome",
        )
    }
}

/// Returns the error for a COMMIT that the database answered with an error: it may have taken effect or not.
pub(super) fn commit_refused(error: &DbErr) -> Error {
    let unknown = commit_failed(redacted_text(error));
    if !is_disk_full(error) || unknown.reason != Reason::OutcomeUnknown {
        return unknown;
    }
    let message = format!("{DISK_FULL}, and the database did not confirm the commit; retry with the same request_id");
    Error { internal: unknown.internal, ..Error::new(Reason::OutcomeUnknown, message) }
}

/// Whether the database says that its disk is full.
pub(super) fn is_disk_full(error: &DbErr) -> bool {
    code_of(error).is_some_and(|code| error_codes::is_disk_full(&code))
}

/// Returns the database's error code.
pub(super) fn code_of(error: &DbErr) -> Option<String> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => error_codes::code_of(inner),
        _ => None,
    }
}

/// Returns the state of the database that a failed statement shows.
pub(super) fn classify(error: &DbErr) -> Failure {
    match error {
        DbErr::ConnectionAcquire(_) => Failure::NoConnection,
        // There was no statement that could be wrong.
        DbErr::Conn(RuntimeErr::SqlxError(inner)) => match classify_sqlx(inner) {
            Failure::Statement => Failure::Refused,
            failure => failure,
        },
        DbErr::Exec(RuntimeErr::SqlxError(inner)) | DbErr::Query(RuntimeErr::SqlxError(inner)) => classify_sqlx(inner),
        DbErr::Conn(_) => Failure::Outage,
        _ => Failure::Statement,
    }
}

/// Classifies an error of sqlx.
pub(super) fn classify_sqlx(error: &sqlx::Error) -> Failure {
    use sqlx::Error;
    match error {
        Error::Database(answer) if error_codes::is_about_connecting(answer.code().as_deref().unwrap_or_default()) => {
            Failure::Refused
        }
        Error::Database(answer) => classify_code(answer.code().as_deref().unwrap_or_default()),
        Error::PoolTimedOut => Failure::NoConnection,
        Error::Io(_)
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::Protocol(_)
        | Error::BeginFailed
        | Error::InvalidSavePointStatement => Failure::Outage,
        _ => Failure::Statement,
    }
}

/// Classifies a SQLSTATE (five characters, PostgreSQL's appendix A) or SQLite's extended result code (a number).
fn classify_code(code: &str) -> Failure {
    /// Timed-out statements, serialization failures and deadlocks, and a server with too many connections.
    const BUSY: [&str; 5] = ["57014", "55P03", "40001", "40P01", "53300"];
    /// Connection exceptions, operator intervention, an idle transaction that was ended, a primary that became a standby, no disk or
    /// memory left, and disk errors.
    const OUTAGE: [&str; 6] = ["08", "57P", "25P03", "25006", "53", "58"];
    if code.len() != 5 {
        return code.parse().map_or(Failure::Statement, classify_sqlite);
    }
    let is_one_of = |classes: &[&str]| classes.iter().any(|class| code.starts_with(class));
    match () {
        () if is_one_of(&BUSY) => Failure::Busy,
        () if is_one_of(&OUTAGE) => Failure::Outage,
        () => Failure::Statement,
    }
}

/// Classifies a primary result code (sqlite.org/rescode.html), which is the low byte.
fn classify_sqlite(code: u32) -> Failure {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const NOMEM: u32 = 7;
    const READONLY: u32 = 8;
    const IOERR: u32 = 10;
    const CORRUPT: u32 = 11;
    const FULL: u32 = 13;
    const CANTOPEN: u32 = 14;
    const PROTOCOL: u32 = 15;
    const NOLFS: u32 = 22;
    const NOTADB: u32 = 26;
    match code & 0xff {
        BUSY | LOCKED => Failure::Busy,
        NOMEM | READONLY | IOERR | FULL | CANTOPEN | PROTOCOL | NOLFS => Failure::Outage,
        CORRUPT | NOTADB => Failure::Corrupt,
        _ => Failure::Statement,
    }
}

/// Whether a SQLite connection whose last result code is this one must not be used again: all codes but success, a row, and a violated
/// constraint.
pub(super) fn is_sqlite_failure(code: u32) -> bool {
    const OK: u32 = 0;
    const CONSTRAINT: u32 = 19;
    const ROW: u32 = 100;
    const DONE: u32 = 101;
    ![OK, CONSTRAINT, ROW, DONE].contains(&(code & 0xff))
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Stored(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        for (code, failure) in [
            ("57014", Failure::Busy),
            ("55P03", Failure::Busy),
            ("53300", Failure::Busy),
            ("53100", Failure::Outage),
            ("58030", Failure::Outage),
            ("57P01", Failure::Outage),
            ("08006", Failure::Outage),
            ("25006", Failure::Outage),
            ("42P01", Failure::Statement),
            ("5", Failure::Busy),
            ("261", Failure::Busy),
            ("8", Failure::Outage),
            ("1032", Failure::Outage),
            ("10", Failure::Outage),
            ("266", Failure::Outage),
            ("1034", Failure::Outage),
            ("13", Failure::Outage),
            ("14", Failure::Outage),
            ("11", Failure::Corrupt),
            ("26", Failure::Corrupt),
            ("1", Failure::Statement),
            ("2067", Failure::Statement),
            ("", Failure::Statement),
        ] {
            assert_eq!(classify_code(code), failure, "{code}");
        }
        assert!(!is_sqlite_failure(2067), "a constraint is the caller's");
        assert!(is_sqlite_failure(1), "a ROLLBACK without a transaction");
    }
}
