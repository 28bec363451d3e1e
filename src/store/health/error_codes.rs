//! Error codes of a database that answers and refuses to serve, and their meaning for callers and operators.

use sea_orm::sqlx::Error;
use sea_orm::sqlx::error::DatabaseError;
use sea_orm::sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::domain::Reason;
use crate::store::health::write_blocker::WriteBlocker;

/// Returns the write blocker for a SQLSTATE, or a code of SQLite; none for a code that is about the statement.
pub(in crate::store) fn write_blocker(code: &str) -> Option<WriteBlocker> {
    let (reason, message) = match code {
        "55P03" => (
            Reason::LockTimeout,
            "somebody else holds a lock that this needs (a COMMIT that waits for its synchronous standby holds its own)",
        ),
        // A row for which several writers wait takes two locks, one after the other: the statement times out before the second lock does.
        "57014" => (
            Reason::LockTimeout,
            "somebody else holds a lock that this needs, or the database took too long for a statement",
        ),
        "53300" => (
            Reason::DatabaseConnectionLimit,
            "the database takes no further connection: its limit, or that of the server's role, is reached",
        ),
        STANDBY => return Some(WriteBlocker::standby()),
        ANOTHER_STORE => return Some(WriteBlocker::another_store()),
        "42P01" | NO_TABLES => return Some(WriteBlocker::no_tables()),
        "25006" => (Reason::DatabaseReadOnly, "the database is read-only, or became a standby"),
        "28P01" => (Reason::DatabaseAccessDenied, "the database does not take the password of the server's role"),
        "28000" => (Reason::DatabaseAccessDenied, "the database does not let the server's role in"),
        NO_CONNECTIONS => (
            Reason::DatabaseAccessDenied,
            "the server's database takes no connections (ALLOW_CONNECTIONS is false, or it is being dropped)",
        ),
        "3D000" => (Reason::DatabaseAccessDenied, "the server's database does not exist"),
        "42501" => (Reason::DatabaseAccessDenied, "the server's role lacks a right in the database"),
        code if is_disk_full(code) => return Some(WriteBlocker::disk_full()),
        _ => return None,
    };
    Some(WriteBlocker::new(reason, message))
}

/// Whether a code says that the disk is full: PostgreSQL's, SQLite's `SQLITE_FULL`, or `SQLITE_IOERR_SHMSIZE`, which says so for the index
/// of the write-ahead log.
pub(in crate::store) fn is_disk_full(code: &str) -> bool {
    ["53100", "13", "4874"].contains(&code)
}

/// Used in place of a SQLSTATE for a standby: PostgreSQL has none, and accepts every client that only reads.
const STANDBY: &str = "a standby";

/// Returns the refusal of a connection to a standby, as an error that a connector can return.
pub(in crate::store) fn standby() -> Error {
    Error::Protocol(STANDBY.to_owned())
}

/// Used in place of a SQLSTATE for a database without tables.
const NO_TABLES: &str = "no tables";

/// Returns the refusal of a connection that finds no tables.
pub(in crate::store) fn no_tables() -> Error {
    Error::Protocol(NO_TABLES.to_owned())
}

/// Used in place of a SQLSTATE for a database that holds another store.
const ANOTHER_STORE: &str = "another store";

/// Returns the refusal of a connection that leads to another store.
pub(in crate::store) fn another_store() -> Error {
    Error::Protocol(ANOTHER_STORE.to_owned())
}

/// Used in place of a SQLSTATE for a database that accepts no connections. PostgreSQL's own, 55000, is also that of statements at the
/// wrong time.
const NO_CONNECTIONS: &str = "no connections";

/// Whether PostgreSQL sent this error in place of a connection.
fn is_about_no_connections(answer: &dyn DatabaseError, code: &str) -> bool {
    let severity = answer.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
    code == "55000" && severity == Some(PgSeverity::Fatal)
}

/// Whether a connection was refused because it led to a standby.
pub(in crate::store) fn is_standby(error: &Error) -> bool {
    matches!(error, Error::Protocol(text) if text == STANDBY)
}

/// Returns the code that PostgreSQL gave, or the text used in its place.
pub(in crate::store) fn code_of(error: &Error) -> Option<String> {
    let ours = [STANDBY, NO_TABLES, ANOTHER_STORE];
    if let Error::Protocol(text) = error
        && let Some(code) = ours.into_iter().find(|code| text == code)
    {
        return Some(code.to_owned());
    }
    let answer = error.as_database_error()?;
    let code = answer.code()?;
    Some(if is_about_no_connections(answer, &code) { NO_CONNECTIONS.to_owned() } else { code.into_owned() })
}

/// Whether the code says that the server may not connect, or may open no more connections.
pub(in crate::store) fn is_about_connecting(code: &str) -> bool {
    ["53300", "28P01", "28000", "3D000"].contains(&code)
}
