//! Checks whether a connection leads to the store that this server serves.

use std::sync::{Arc, OnceLock};

use sea_orm::sqlx;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::{DatabaseConnection, DbBackend};

use crate::domain::Result;
use crate::store::connection::pools::text;
use crate::store::connection::postgres_session::{SessionTimeouts, prepare};
use crate::store::error::StoreError;
use crate::store::health::error_codes;
use crate::store::health::write_blocker::WriteBlocker;

/// The key in `store_meta` of the store's id.
pub(in crate::store) const STORE_ID: &str = "store_id";

/// Id of the store that every connection must lead to; none before it is known.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct OwnStore(Arc<OnceLock<String>>);

impl OwnStore {
    /// Sets the store's id: from now on, a connection that leads to another store is refused. Only the first call has an effect.
    pub(in crate::store) fn is(&self, id: &str) {
        let _ = self.0.set(id.to_owned());
    }
}

/// Prepares a connection, and refuses one that leads to a standby, to a database without tables, or to another store, which this server
/// must neither read nor write. Returns the write blocker of the connection, if there is one.
pub(in crate::store) async fn prepare_own(
    connection: &mut PgConnection,
    own_store: &OwnStore,
    timeouts: SessionTimeouts,
) -> Result<Option<WriteBlocker>, sqlx::Error> {
    let found = prepare(connection, timeouts).await?;
    if found.as_ref().is_some_and(WriteBlocker::is_standby) {
        return Err(error_codes::standby());
    }
    if found.as_ref() == Some(&WriteBlocker::no_tables()) {
        return Err(error_codes::no_tables());
    }
    if let Some(own) = own_store.0.get()
        && meta(connection, STORE_ID).await?.as_ref() != Some(own)
    {
        return Err(error_codes::another_store());
    }
    Ok(found)
}

/// Returns the id of the store that a database holds; none when it has no tables or no server has set the id yet.
pub(in crate::store) async fn store_id(db: &DatabaseConnection) -> std::result::Result<Option<String>, StoreError> {
    let has_table = match db.get_database_backend() {
        DbBackend::Postgres => "SELECT coalesce(to_regclass('store_meta')::text, '')",
        _ => "SELECT name FROM sqlite_master WHERE name = 'store_meta'",
    };
    if text(db, has_table).await?.is_empty() {
        return Ok(None);
    }
    let id = text(db, "SELECT value FROM store_meta WHERE name = 'store_id'").await?;
    Ok(Some(id).filter(|id| !id.is_empty()))
}

pub(in crate::store) async fn meta(connection: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    let kept = sqlx::query_scalar::<_, String>("SELECT value FROM store_meta WHERE name = $1").bind(name);
    kept.fetch_optional(connection).await
}
