//! Which PostgreSQL it is: a promoted standby or a restored backup is another incarnation of the same store (docs/guarantees.md#g1b).
//!
//! Compared on every new connection, so that no write slips between a failover and the comparison.

use std::pin::Pin;
use std::sync::Arc;

use sea_orm::sqlx;
use sea_orm::sqlx::pool::PoolConnectionMetadata;
use sea_orm::sqlx::postgres::PgConnection;

use crate::store::connection::own_store::{OwnStore, meta, prepare_own};
use crate::store::connection::postgres_session::Bounds;
use crate::store::health::write_blocker::Obstacles;
use crate::store::loss::suspected_loss::Doubt;

/// Where `store_meta` keeps the incarnation that the store knows.
pub(in crate::store) const INCARNATION: &str = "incarnation";

/// The system identifier says which cluster it is, the timeline how often one of its copies was promoted. The name of the
/// file being written has the timeline right after a promotion; the control file learns it at the next checkpoint.
pub(in crate::store) const ACTUAL: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || \
     ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text";

/// What a server is connected to.
type Answer<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// What every new connection must pass: it leads to the server's own store, and another incarnation of that puts it in doubt. A
/// connection that writes tells `obstacles` what is in its way.
pub(in crate::store) fn verified(
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

/// What to say of an incarnation that is not the recorded one.
pub(in crate::store) fn difference(recorded: &str, actual: &str) -> Option<String> {
    (recorded != actual).then(|| {
        format!(
            "the database is another one than before, a promoted standby or a restored backup: its system identifier \
             and timeline are {actual}, recorded is {recorded}"
        )
    })
}
