//! The system identity of PostgreSQL: a promoted standby or a restored backup of the same store has another one (docs/guarantees.md#g1b).
//!
//! It is compared on every new connection, so that no write can happen between a failover and the comparison.

use std::pin::Pin;
use std::sync::Arc;

use sea_orm::sqlx;
use sea_orm::sqlx::pool::PoolConnectionMetadata;
use sea_orm::sqlx::postgres::PgConnection;

use crate::store::connection::own_store::{OwnStore, meta, prepare_own};
use crate::store::connection::postgres_session::SessionTimeouts;
use crate::store::health::write_blocker::WriteBlockers;
use crate::store::loss::suspected_loss::SuspectedLoss;

/// The key in `store_meta` of the recorded system identity.
pub(in crate::store) const SYSTEM_IDENTITY: &str = "incarnation";

/// The system identifier names the cluster; the timeline counts the promotions of its copies. The name of the WAL file being written has
/// the timeline right after a promotion; the control file has it only after the next checkpoint.
pub(in crate::store) const READ_SYSTEM_IDENTITY: &str = "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || \
     ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint::text";

/// The future that a pool runs on each new connection.
type IdentityAnswer<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// Checks every new connection: it must lead to the server's own store, and another system identity makes data loss suspected. A
/// connection that writes records its write blocker in `write_blockers`.
pub(in crate::store) fn verified(
    suspected_loss: Arc<SuspectedLoss>,
    write_blockers: Option<Arc<WriteBlockers>>,
    own_store: OwnStore,
) -> impl for<'c> Fn(&'c mut PgConnection, PoolConnectionMetadata) -> IdentityAnswer<'c, ()> + Send + Sync + 'static {
    move |connection, _| {
        let (suspected_loss, write_blockers, own_store) =
            (Arc::clone(&suspected_loss), write_blockers.clone(), own_store.clone());
        Box::pin(async move {
            let found = prepare_own(connection, &own_store, SessionTimeouts::Calls).await?;
            if let Some(write_blockers) = write_blockers {
                write_blockers.note(found);
            }
            let actual = sqlx::query_scalar::<_, String>(READ_SYSTEM_IDENTITY).fetch_one(&mut *connection).await?;
            let recorded = meta(connection, SYSTEM_IDENTITY).await?;
            if let Some(identity_mismatch) = recorded.and_then(|recorded| identity_mismatch(&recorded, &actual)) {
                suspected_loss.other_system(identity_mismatch);
            }
            Ok(())
        })
    }
}

/// Describes a system identity that is not the recorded one; none when they are equal.
pub(in crate::store) fn identity_mismatch(recorded: &str, actual: &str) -> Option<String> {
    (recorded != actual).then(|| {
        format!(
            "the database is another one than before, a promoted standby or a restored backup: its system identifier \
             and timeline are {actual}, recorded is {recorded}"
        )
    })
}
