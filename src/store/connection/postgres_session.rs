//! Sets up each connection to PostgreSQL before its first use, and checks what it can't set (docs/guarantees.md#g1).
//!
//! It uses statements, not startup parameters, because a pooler in session mode refuses those.

use std::time::Duration;

use sea_orm::sea_query::Expr;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sea_orm::sqlx::{AssertSqlSafe, Error, Row as _, raw_sql};
use sea_orm::{DbErr, EntityTrait, QueryResult, QuerySelect as _, Select};

use crate::defect::{Defect, planted};
use crate::domain::Reason;
use crate::domain::limits::EXPORT_MAX_SECONDS;
use crate::store::health::write_blocker::WriteBlocker;

/// Timeouts of PostgreSQL. In milliseconds: a write that waits for its namespace, any statement, and a transaction whose replica is
/// suspended. In seconds: a replica whose network is gone (in milliseconds with unacknowledged data). Too low: a busy namespace refuses
/// writes. Too high: one stuck replica blocks the others. Lock and statement end before the store's own statement timeout, 2.4 s, so that
/// their connections stay usable. None of them ends a COMMIT: PostgreSQL disarms `statement_timeout` before it.
const TIMEOUTS: [(&str, &str); 7] = [
    ("lock_timeout", LOCK_TIMEOUT_MILLIS),
    ("statement_timeout", "2200"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];
/// `lock_timeout` in milliseconds, as text.
const LOCK_TIMEOUT_MILLIS: &str = "2000";
/// The same as a duration. `TimedConnection` shortens it for a call that has already waited.
pub(in crate::store) const LOCK_TIMEOUT: Duration = Duration::from_millis(2_000);
/// Isolation of the transactions that name none: those that write. A role's default could be another one, in which a write that waited for
/// a lock would not see what was committed meanwhile.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");
/// `idle_in_transaction_session_timeout` of a view that a stream reads, in milliseconds: 20 minutes. A reader may take one message for as
/// long as an export lasts (`EXPORT_MAX_SECONDS`), and read nothing for as long as `stuck_reader_timeout_ms` allows, 300 s at most.
/// Shorter: PostgreSQL ends the connection of a slow reader, which looks like an outage. Longer: the view of a suspended replica keeps
/// dead rows for longer.
pub(in crate::store) const STREAM_IDLE_TIMEOUT_MILLIS: u64 = 20 * 60 * 1_000;
const _: () = assert!(STREAM_IDLE_TIMEOUT_MILLIS >= (EXPORT_MAX_SECONDS + 300) * 1_000);
/// Lock timeout of a probe in milliseconds, as text: less than `PROBE_TIMEOUT`, 1 s. Shorter: a lock that is held only briefly counts.
const PROBE_LOCK_TIMEOUT_MILLIS: &str = "500";
/// Sets `synchronous_commit` for the session, so that neither the default of the role nor a reload of the server's configuration changes
/// it. `off` becomes `on`; each other value flushes the primary's own log and is the operator's choice.
const COMMIT_IS_FLUSHED: &str = "set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
     WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
/// The planted defect.
const COMMIT_IS_NOT_FLUSHED: &str = "set_config('synchronous_commit', 'off', false)";
/// Columns, by name and SQL, that show whether a connection can write, and whether its commits survive a crash.
const DURABILITY_COLUMNS: [(&str, &str); 7] = [
    ("fsync", "current_setting('fsync')"),
    ("full_page_writes", "current_setting('full_page_writes')"),
    ("synchronous_commit", "current_setting('synchronous_commit')"),
    ("is_standby", "pg_is_in_recovery()::text"),
    ("transaction_read_only", "current_setting('transaction_read_only')"),
    ("has_tables", "(to_regclass('events') IS NOT NULL)::text"),
    (
        "may_write",
        "(coalesce(has_table_privilege(to_regclass('events'), 'INSERT'), true) AND \
         coalesce(has_table_privilege(to_regclass('events'), 'SELECT'), true) AND \
         coalesce(has_table_privilege(to_regclass('namespaces'), 'UPDATE'), true))::text",
    ),
];

/// The timeouts of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum SessionTimeouts {
    /// The timeouts of calls.
    Calls,
    /// The same, but with a lock timeout shorter than the whole probe, so that the probe reports that there is a lock.
    Probe,
    /// No timeouts: a migration takes the time it needs, and waits for another one.
    None,
}

/// Removes the options that a pooler in session mode does not know, and the brackets of an IPv6 address, which are valid only in a URL.
pub(in crate::store) fn without_startup_parameters(options: PgConnectOptions) -> PgConnectOptions {
    let options = options.extra_float_digits(None);
    let bare = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    match bare {
        Some(host) => options.host(&host),
        None => options,
    }
}

/// Prepares a new connection, and returns its write blocker, if there is one. The settings last as long as the connection.
pub(in crate::store) async fn prepare(
    connection: &mut PgConnection,
    timeouts: SessionTimeouts,
) -> Result<Option<WriteBlocker>, Error> {
    let commit = if planted(Defect::PostgresCommitOff) { COMMIT_IS_NOT_FLUSHED } else { COMMIT_IS_FLUSHED };
    let set_to = |name: &str, value: &str| format!("set_config('{name}', '{value}', false)");
    let mut set = vec![commit.to_owned(), set_to(ISOLATION.0, ISOLATION.1)];
    if timeouts != SessionTimeouts::None {
        set.extend(TIMEOUTS.iter().map(|(name, value)| set_to(name, value)));
    }
    if timeouts == SessionTimeouts::Probe {
        set.push(set_to("lock_timeout", PROBE_LOCK_TIMEOUT_MILLIS));
    }
    // PostgreSQL evaluates the columns in order: the settings are set before they are read.
    let sql = format!("SELECT concat({}), {}", set.join(", "), durability_columns());
    let row = raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    write_blocker_of_row(&row)
}

/// Reads the write blocker of a connection, if there is one.
pub(in crate::store) async fn read_write_blocker(connection: &mut PgConnection) -> Result<Option<WriteBlocker>, Error> {
    let sql = format!("SELECT {}", durability_columns());
    write_blocker_of_row(&raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?)
}

/// Adds to a query the columns that show whether its connection may be written to. `write_blocker_of_result` reads them.
pub(in crate::store) fn with_durability<E: EntityTrait>(query: Select<E>) -> Select<E> {
    DURABILITY_COLUMNS.into_iter().fold(query, |query, (name, sql)| query.column_as(Expr::cust(sql), name))
}

/// Returns the write blocker of the connection that answered a query of `with_durability`, if there is one.
pub(in crate::store) fn write_blocker_of_result(row: &QueryResult) -> Result<Option<WriteBlocker>, DbErr> {
    write_blocker(|column| row.try_get("", column))
}

fn write_blocker_of_row(row: &PgRow) -> Result<Option<WriteBlocker>, Error> {
    write_blocker(|column| row.try_get(column))
}

fn durability_columns() -> String {
    DURABILITY_COLUMNS.map(|(name, sql)| format!("{sql} AS {name}")).join(", ")
}

/// Returns the write blocker that the values of `DURABILITY_COLUMNS` show, if there is one.
fn write_blocker<E>(value: impl Fn(&str) -> Result<String, E>) -> Result<Option<WriteBlocker>, E> {
    if value("is_standby")? == "true" {
        return Ok(Some(WriteBlocker::standby()));
    }
    if value("has_tables")? != "true" {
        return Ok(Some(WriteBlocker::no_tables()));
    }
    if planted(Defect::PostgresCommitOff) {
        return Ok(None);
    }
    for (setting, lossy) in [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")] {
        if value(setting)? == lossy {
            return Ok(Some(WriteBlocker::not_durable(setting, lossy)));
        }
    }
    if value("transaction_read_only")? == "on" {
        return Ok(Some(WriteBlocker::new(
            Reason::DatabaseReadOnly,
            "the database is read-only (default_transaction_read_only is on)",
        )));
    }
    if value("may_write")? != "true" {
        let message = "the server's role lacks a right in the database, to write its tables";
        return Ok(Some(WriteBlocker::new(Reason::DatabaseAccessDenied, message)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_is_connected_to_without_its_brackets() {
        for (url, host) in
            [("postgres://[::1]:5432/hub", "::1"), ("postgres://db/hub", "db"), ("postgres://10.0.0.1/hub", "10.0.0.1")]
        {
            let options: PgConnectOptions = url.parse().expect("a URL");
            assert_eq!(without_startup_parameters(options).get_host(), host);
        }
    }
}
