//! Refuses a pooler in transaction mode, where different backends serve one connection of ours in turn.
//!
//! Session settings, `synchronous_commit` above all, would apply to other clients' transactions; LISTEN and prepared statements would be
//! lost (docs/adr/0032).

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{ConnectOptions as _, Connection as _, Error, raw_sql};
use sea_orm::{DbErr, RuntimeErr};

use crate::store::connection::timeout::within;
use crate::store::error::StoreError;

/// How often two connections are asked for their backend. A pooler in transaction mode gives the backend of one to the other at the first
/// question, unless another client takes it in between. Higher: a start takes longer.
const ROUNDS: usize = 4;
/// Timeout of both connections and all questions together. Shorter: a start at a busy database fails. Longer: a start reports later that a
/// pooler has no capacity for two connections.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Refuses the database of `options` when a pooler in transaction or statement mode is in front of it. `config_key` names the URL in the
/// error.
pub(in crate::store) async fn refuse_transaction_mode(
    options: &PgConnectOptions,
    config_key: &'static str,
) -> Result<(), StoreError> {
    match within(CHECK_TIMEOUT, shares_backends(options)).await {
        Some(Ok(false)) => Ok(()),
        Some(Ok(true)) => Err(StoreError::TransactionPooler { config_key }),
        Some(Err(error)) => Err(StoreError::Connect(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))),
        None => Err(StoreError::TwoConnections { config_key, seconds: CHECK_TIMEOUT.as_secs() }),
    }
}

async fn shares_backends(options: &PgConnectOptions) -> Result<bool, Error> {
    let mut connections = (options.connect().await?, options.connect().await?);
    let first = (backend(&mut connections.0).await?, backend(&mut connections.1).await?);
    let mut is_shared = first.0 == first.1;
    for _ in 1..ROUNDS {
        let next = (backend(&mut connections.0).await?, backend(&mut connections.1).await?);
        is_shared |= next != first;
    }
    connections.0.close().await?;
    connections.1.close().await?;
    Ok(is_shared)
}

/// Returns the process that serves a connection now. It uses the simple protocol, which needs no prepared statement.
async fn backend(connection: &mut PgConnection) -> Result<i32, Error> {
    use sea_orm::sqlx::Row as _;
    raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
