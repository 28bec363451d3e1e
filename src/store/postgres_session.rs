//! What each connection to PostgreSQL sets before its first use, and what it checks since it can't set it (G1).
//!
//! By statements, not by startup parameters: a pooler in session mode refuses those.

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sea_orm::sqlx::{AssertSqlSafe, Error, Row as _, raw_sql};

use super::obstacle::Obstacle;
use crate::domain::Reason;
use crate::domain::defect::{Defect, planted};

/// What PostgreSQL gives up, in milliseconds: a write that waits for its namespace, any statement, and a transaction
/// whose replica fell asleep; and, in seconds, when it gives up a replica whose network is gone (in milliseconds, with
/// unacknowledged data). Too low: a busy namespace refuses writes. Too high: one stuck replica holds up the others. Lock and
/// statement end before the store's own bound of a statement, 2.4 s: their connections stay usable. None of them ends a
/// COMMIT: PostgreSQL disarms `statement_timeout` before it.
const TIMEOUTS: [(&str, &str); 7] = [
    ("lock_timeout", "2000"),
    ("statement_timeout", "2200"),
    ("idle_in_transaction_session_timeout", "5000"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];
/// Sets `synchronous_commit` for the session, so that neither the default of the role nor a reload of the server's
/// configuration changes it. `off` becomes `on`; each other value flushes the primary's own log and is the operator's choice.
const COMMIT_IS_FLUSHED: &str = "set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
     WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
/// The planted defect.
const COMMIT_IS_NOT_FLUSHED: &str = "set_config('synchronous_commit', 'off', false)";
/// Whether this connection can write, and whether what it commits survives a crash, as `obstacle` reads it.
pub(super) const DURABILITY_COLUMNS: &str = "current_setting('fsync') AS fsync, \
     current_setting('full_page_writes') AS full_page_writes, \
     current_setting('synchronous_commit') AS synchronous_commit, \
     pg_is_in_recovery()::text AS is_standby, \
     current_setting('transaction_read_only') AS transaction_read_only, \
     (coalesce(has_table_privilege(to_regclass('events'), 'INSERT'), true) AND \
      coalesce(has_table_privilege(to_regclass('namespaces'), 'UPDATE'), true))::text AS may_write";

/// Which bounds a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounds {
    /// Those of calls.
    Calls,
    /// None: a migration takes the time it needs, and waits for another one.
    None,
}

/// Takes out of the options what a pooler in session mode does not know.
pub(super) fn without_startup_parameters(options: PgConnectOptions) -> PgConnectOptions {
    options.extra_float_digits(None)
}

/// Prepares a new connection, and answers why it may not be written to, if it may not. The settings last as long as the
/// connection.
pub(super) async fn prepare(connection: &mut PgConnection, bounds: Bounds) -> Result<Option<Obstacle>, Error> {
    let commit = if planted(Defect::PostgresCommitOff) { COMMIT_IS_NOT_FLUSHED } else { COMMIT_IS_FLUSHED };
    let mut set = vec![commit.to_owned()];
    if bounds == Bounds::Calls {
        set.extend(TIMEOUTS.iter().map(|(name, value)| format!("set_config('{name}', '{value}', false)")));
    }
    // Set first, then read: PostgreSQL evaluates the columns in their order.
    let sql = format!("SELECT concat({}), {DURABILITY_COLUMNS}", set.join(", "));
    let row = raw_sql(AssertSqlSafe(sql)).fetch_one(connection).await?;
    obstacle(&row)
}

/// What a row with `DURABILITY_COLUMNS` says.
pub(super) fn obstacle(row: &PgRow) -> Result<Option<Obstacle>, Error> {
    if row.try_get::<String, _>("is_standby")? == "true" {
        return Ok(Some(Obstacle::standby()));
    }
    if planted(Defect::PostgresCommitOff) {
        return Ok(None);
    }
    for (setting, lossy) in [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")] {
        if row.try_get::<String, _>(setting)? == lossy {
            return Ok(Some(Obstacle::not_durable(setting, lossy)));
        }
    }
    if row.try_get::<String, _>("transaction_read_only")? == "on" {
        return Ok(Some(Obstacle::new(
            Reason::DatabaseReadOnly,
            "the database is read-only (default_transaction_read_only is on)",
        )));
    }
    if row.try_get::<String, _>("may_write")? != "true" {
        let message = "the server's role lacks a right in the database, to write its tables";
        return Ok(Some(Obstacle::new(Reason::DatabaseAccessDenied, message)));
    }
    Ok(None)
}
