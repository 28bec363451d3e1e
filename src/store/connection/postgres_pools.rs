//! The two pools of connections to PostgreSQL: one that writes and one that reads.

use std::sync::Arc;

use sea_orm::ConnectOptions;

use crate::store::connection::pools::{Pools, connect};
use crate::store::connection::postgres_session::without_startup_parameters;
use crate::store::connection::reuse::guard_postgres;
use crate::store::connection::system_identity::verified;
use crate::store::error::StoreError;
use crate::store::health::state::Health;
use crate::store::health::write_blocker::WriteBlockers;
use crate::store::loss::suspected_loss::SuspectedLoss;

/// Number of connections to PostgreSQL that write: each is in use from lock to commit. They are separate from those that read, so that
/// writers that wait for a namespace don't starve reads. With the listener and a probe a replica uses at most 26 connections: three
/// replicas fit into PostgreSQL's default of 100.
pub(in crate::store) const POSTGRES_WRITERS_MAX: u32 = 12;

/// Number of connections to PostgreSQL that read.
pub(in crate::store) const POSTGRES_READERS_MAX: u32 = 12;

/// Creates the two pools, which connect when they are first used.
pub(in crate::store) async fn connect_postgres(
    url: &str,
    suspected_loss: &Arc<SuspectedLoss>,
    health: &Health,
) -> Result<Pools, StoreError> {
    let pool = async |connections_max, write_blockers: Option<Arc<WriteBlockers>>| {
        let (suspected_loss, failures, own_store) =
            (Arc::clone(suspected_loss), Arc::clone(&health.failures), health.own_store.clone());
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(connections_max)
            .connect_lazy(true)
            .map_sqlx_postgres_opts(without_startup_parameters)
            .map_sqlx_postgres_pool_opts(move |pool| {
                let verified = verified(Arc::clone(&suspected_loss), write_blockers.clone(), own_store.clone());
                guard_postgres(pool.after_connect(verified), &failures, write_blockers.clone())
            });
        connect(options).await
    };
    Ok(Pools {
        writer: pool(POSTGRES_WRITERS_MAX, Some(Arc::clone(&health.write_blockers))).await?,
        reader: pool(POSTGRES_READERS_MAX, None).await?,
    })
}
