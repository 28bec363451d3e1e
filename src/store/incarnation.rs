//! Which PostgreSQL it is: a promoted standby or a restored backup is another incarnation of the same store (docs/guarantees.md#g1b).
//!
//! Compared on every new connection, so that no write slips between a failover and the comparison.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use sea_orm::sqlx;
use sea_orm::sqlx::pool::PoolConnectionMetadata;
use sea_orm::sqlx::postgres::PgConnection;

use super::doubt::Doubt;
use super::meta::STORE_ID;
use super::obstacle::{Obstacle, Obstacles};
use super::postgres_session::{Bounds, prepare};
use super::refusal;

/// Where `store_meta` keeps the incarnation that the store knows.
pub(super) const INCARNATION: &str = "incarnation";

/// The system identifier says which cluster it is, the timeline how often one of its copies was promoted. The name of the
/// file being written has the timeline right after a promotion; the control file learns it at the next checkpoint.
pub(super) const ACTUAL: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || \
     ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text";

/// What a server is connected to.
type Answer<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// Id of the store that every connection must lead to; none before it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnStore(Arc<OnceLock<String>>);

impl OwnStore {
    /// From now on, a connection that leads to another store is refused. A server has one store: only the first call counts.
    pub(super) fn is(&self, id: &str) {
        let _ = self.0.set(id.to_owned());
    }
}

/// Prepares a connection, and refuses one that leads elsewhere: to a standby, to no tables, or to another store, which this server
/// must neither read nor write. Answers why it may not be written to.
pub(super) async fn prepare_own(
    connection: &mut PgConnection,
    own_store: &OwnStore,
    bounds: Bounds,
) -> Result<Option<Obstacle>, sqlx::Error> {
    let found = prepare(connection, bounds).await?;
    if found.as_ref().is_some_and(Obstacle::is_standby) {
        return Err(refusal::standby());
    }
    if found.as_ref() == Some(&Obstacle::no_tables()) {
        return Err(refusal::no_tables());
    }
    if let Some(own) = own_store.0.get()
        && meta(connection, STORE_ID).await?.as_ref() != Some(own)
    {
        return Err(refusal::another_store());
    }
    Ok(found)
}

/// What every new connection must pass: it leads to the server's own store, and another incarnation of that puts it in doubt. A
/// connection that writes tells `obstacles` what is in its way.
pub(super) fn verified(
    doubt: Arc<Doubt>,
    obstacles: Option<Arc<Obstacles>>,
    own_store: OwnStore,
) -> impl for<'c> Fn(&'c mut PgConnection, PoolConnectionMetadata) -> Answer<'c, ()> + Send + Sync + 'static {
    move |connection, _| {
        let (doubt, obstacles, own_store) = (Arc::clone(&doubt), obstacles.clone(), own_store.clone());
        Box::pin(async move {
            let found = prepare_own(connection, &own_store, Bounds::Calls).await?;
            if let Some(obstacles) = obstacles {
                obstacles.note(found);
            }
            let actual = sqlx::query_scalar::<_, String>(ACTUAL).fetch_one(&mut *connection).await?;
            let recorded = meta(connection, INCARNATION).await?;
            if let Some(difference) = recorded.and_then(|recorded| difference(&recorded, &actual)) {
                doubt.other_incarnation(difference);
            }
            Ok(())
        })
    }
}

async fn meta(connection: &mut PgConnection, name: &str) -> Result<Option<String>, sqlx::Error> {
    let kept = sqlx::query_scalar::<_, String>("SELECT value FROM store_meta WHERE name = $1").bind(name);
    kept.fetch_optional(connection).await
}

/// What to say of an incarnation that is not the recorded one.
pub(super) fn difference(recorded: &str, actual: &str) -> Option<String> {
    (recorded != actual).then(|| {
        format!(
            "the database is another one than before, a promoted standby or a restored backup: its system identifier \
             and timeline are {actual}, recorded is {recorded}"
        )
    })
}
