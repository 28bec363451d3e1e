//! What each connection to PostgreSQL sets before its first use, and what it checks since it can't set it (docs/guarantees.md#g1).
//!
//! By statements, not by startup parameters: a pooler in session mode refuses those.

use std::time::Duration;

use sea_orm::sea_query::Expr;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sea_orm::sqlx::{AssertSqlSafe, Error, Row as _, raw_sql};
use sea_orm::{DbErr, EntityTrait, QueryResult, QuerySelect as _, Select};

use crate::defect::{Defect, planted};
use crate::domain::Reason;
use crate::domain::limits::EXPORT_MAX_SECONDS;
use crate::store::health::write_blocker::WriteBlocker;

/// What PostgreSQL gives up, in milliseconds: a write that waits for its namespace, any statement, and a transaction
/// whose replica fell asleep; and, in seconds, when it gives up a replica whose network is gone (in milliseconds, with
/// unacknowledged data). Too low: a busy namespace refuses writes. Too high: one stuck replica holds up the others. Lock and
/// statement end before the store's own bound of a statement, 2.4 s: their connections stay usable. None of them ends a
/// COMMIT: PostgreSQL disarms `statement_timeout` before it.
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
/// The same, of one lock: `TimedConnection` shortens it for a call that has waited already.
pub(in crate::store) const LOCK_TIMEOUT: Duration = Duration::from_millis(2_000);
/// `idle_in_transaction_session_timeout` of a view that a stream reads, in milliseconds: 20 minutes. A reader may take one message for as
/// long as an export lasts (`EXPORT_MAX_SECONDS`), and nothing for as long as `stuck_reader_timeout_ms` allows, 300 s at most. Shorter:
/// PostgreSQL ends the connection of a slow reader, which looks like an outage. Longer: the view of a replica that fell asleep keeps
/// dead rows for longer.
pub(in crate::store) const STREAM_IDLE_TIMEOUT_MILLIS: u64 = 20 * 60 * 1_000;
const _: () = assert!(STREAM_IDLE_TIMEOUT_MILLIS >= (EXPORT_MAX_SECONDS + 300) * 1_000);
/// What a probe waits for a lock, in milliseconds, as text: less than `PROBE_TIMEOUT`, 1 s. Shorter: a lock that is held for a
/// moment counts.
const PROBE_LOCK_TIMEOUT_MILLIS: &str = "500";
/// Sets `synchronous_commit` for the session, so that neither the default of the role nor a reload of the server's
/// configuration changes it. `off` becomes `on`; each other value flushes the primary's own log and is the operator's choice.
const COMMIT_IS_FLUSHED: &str = "set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
     WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
/// The planted defect.
const COMMIT_IS_NOT_FLUSHED: &str = "set_config('synchronous_commit', 'off', false)";
/// Columns that say whether a connection can write, and whether what it commits survives a crash, by name and SQL.
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

/// Which bounds a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum SessionTimeouts {
    /// Those of calls.
    Calls,
    /// The same, but a lock is waited for shorter than the whole probe may take: it hears that there is one.
    Probe,
    /// None: a migration takes the time it needs, and waits for another one.
    None,
}

/// Takes out of the options what a pooler in session mode does not know, and the brackets of an IPv6 address, which stand in a
/// URL and nowhere else.
pub(in crate::store) fn without_startup_parameters(options: PgConnectOptions) -> PgConnectOptions {
    let options = options.extra_float_digits(None);
    let bare = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')).map(str::to_owned);
    match bare {
        Some(host) => options.host(&host),
        None => options,
    }
}

/// Prepares a new connection, and answers why it may not be written to, if it may not. The settings last as long as the
/// connection.
pub(in crate::store) async fn prepare(
    connection: &mut PgConnection,
    timeouts: SessionTimeouts,
) -> Result<Option<WriteBlocker>, Error> {
    let commit = if planted(Defect::PostgresCommitOff) { COMMIT_IS_NOT_FLUSHED } else { COMMIT_IS_FLUSHED };
    let mut set = vec![commit.to_owned()];
    let set_to = |name: &str, value: &str| format!("set_config('{name}', '{value}', false)");
    if timeouts != SessionTimeouts::None {
        set.extend(TIMEOUTS.iter().map(|(name, value)| set_to(name, value)));
    }
    if timeouts == SessionTimeouts::Probe {
        set.push(set_to("lock_timeout", PROBE_LOCK_TIMEOUT_MILLIS));
    }
    // Set first, then read: PostgreSQL evaluates the columns in their order.
    let sql = format!("SELECT concat({}), {}", set.join(", "), durability_columns());
    let row = raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    write_blocker_of_row(&row)
}

/// Reads why a connection may not be written to, if it may not.
pub(in crate::store) async fn read_write_blocker(connection: &mut PgConnection) -> Result<Option<WriteBlocker>, Error> {
    let sql = format!("SELECT {}", durability_columns());
    write_blocker_of_row(&raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?)
}

/// Adds to a query what tells whether the connection it runs on may be written to. `write_blocker_of_result` reads it.
pub(in crate::store) fn with_durability<E: EntityTrait>(query: Select<E>) -> Select<E> {
    DURABILITY_COLUMNS.into_iter().fold(query, |query, (name, sql)| query.column_as(Expr::cust(sql), name))
}

/// Says why the connection that answered a query of `with_durability` may not be written to, if it may not.
pub(in crate::store) fn write_blocker_of_result(row: &QueryResult) -> Result<Option<WriteBlocker>, DbErr> {
    write_blocker(|column| row.try_get("", column))
}

fn write_blocker_of_row(row: &PgRow) -> Result<Option<WriteBlocker>, Error> {
    write_blocker(|column| row.try_get(column))
}

fn durability_columns() -> String {
    DURABILITY_COLUMNS.map(|(name, sql)| format!("{sql} AS {name}")).join(", ")
}

/// What the values of `DURABILITY_COLUMNS` say.
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
