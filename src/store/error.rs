//! What a database says, in the product's words.
//!
//! Nothing of the database reaches a caller: its text goes to the log alone.

use sea_orm::{DbErr, SqlErr};

use crate::domain::defect::{Defect, planted};
use crate::domain::{Error, Reason};

/// A start-up failure of the store: for the operator, with what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum StoreError {
    #[error("failed to reach the database: {0}")]
    Connect(DbErr),
    #[error(
        "failed to read the database URL: it must be postgres://user:password@host:port/name, each part percent-encoded"
    )]
    Url,
    #[error("failed to open the database file: {0}")]
    File(std::io::Error),
    #[error("failed to migrate the database: {0}")]
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

/// A failed statement of a transaction that is not committing.
pub(super) fn failed(error: DbErr) -> Error {
    let internal = error.to_string();
    match error.sql_err() {
        // Somebody else wrote the same key first; the caller looks again.
        Some(SqlErr::UniqueConstraintViolation(_)) => Error {
            internal: Some(internal),
            ..Error::new(Reason::ConcurrentChange, "somebody else changed this at the same time; try again")
        },
        Some(_) => Error::internal(internal),
        None if is_outage(&error) => Error {
            internal: Some(internal),
            ..Error::new(Reason::DatabaseUnavailable, "the database can't be reached; retry with the same request_id")
        },
        None => Error::internal(internal),
    }
}

/// A failed COMMIT: nobody knows what became of it.
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

/// Whether the database may be gone: it was not the one that answered, or it said that it ends.
pub(super) fn is_suspicious(error: &DbErr) -> bool {
    let (DbErr::Exec(sea_orm::RuntimeErr::SqlxError(inner)) | DbErr::Query(sea_orm::RuntimeErr::SqlxError(inner))) =
        error
    else {
        return is_outage(error);
    };
    match inner.as_database_error().and_then(|answer| answer.code()) {
        Some(code) => ["57P", "08", "25006"].iter().any(|class| code.len() == 5 && code.starts_with(class)),
        None => is_outage(error),
    }
}

fn is_outage(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(sea_orm::RuntimeErr::SqlxError(inner)) | DbErr::Query(sea_orm::RuntimeErr::SqlxError(inner)) => {
            use sea_orm::sqlx::Error as Sqlx;
            matches!(
                **inner,
                Sqlx::Io(_) | Sqlx::PoolTimedOut | Sqlx::PoolClosed | Sqlx::WorkerCrashed | Sqlx::Protocol(_)
            ) || inner.as_database_error().and_then(|db| db.code()).is_some_and(|code| is_outage_code(&code))
        }
        _ => false,
    }
}

/// SQLSTATE classes 08 (connection), 53 (resources) and 57P (operator intervention); statements and transactions that
/// PostgreSQL gave up (57014, 55P03, 25P03), serialization failures and deadlocks (40001, 40P01), and a primary that became
/// a standby (25006). SQLite: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN; the low byte is the primary result code.
fn is_outage_code(code: &str) -> bool {
    const SQLITE_PRIMARY: [u32; 6] = [5, 6, 8, 10, 13, 14];
    let postgres = ["57P", "08", "53", "57014", "55P03", "25P03", "25006", "40001", "40P01"];
    let sqlite = code.len() < 5 && code.parse::<u32>().is_ok_and(|code| SQLITE_PRIMARY.contains(&(code & 0xff)));
    sqlite || (code.len() == 5 && postgres.iter().any(|class| code.starts_with(class)))
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        Self::Stored(error)
    }
}
