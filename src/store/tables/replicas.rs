//! Queries of the table `replicas`: one lease for each server process, which counts for all subscribers whose streams it holds.
//!
//! Invariant: nothing is written for a subscriber only because time passes.

use std::collections::BTreeMap;

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::limits::LEASE_TTL_SECONDS;
use crate::domain::time::Micros;
use crate::store::entity::replicas::{ActiveModel, Column, Entity, Model};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::transaction::views::ReadTx;

/// The `lease_end_time` of a subscriber whose stream is open: it lasts as long as the lease of the replica that holds the stream. It is
/// later than every time, so a replica of a former release, which compares it with the time, shows the subscriber as online too.
pub const UNTIL_REPLICA_ENDS: i64 = i64::MAX;

const LEASE_TTL_MICROS: i64 = LEASE_TTL_SECONDS * 1_000_000;

/// Returns the end of a lease that is written at `now`.
pub fn lease_end(now: Micros) -> i64 {
    now.0.saturating_add(LEASE_TTL_MICROS)
}

/// The lease of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaLease {
    /// Id of the server process, another one after each start.
    pub id: String,
    /// The time at which it was last renewed.
    pub renewed: Micros,
}

impl ReplicaLease {
    /// Returns whether it has ended at `now`.
    #[must_use]
    pub fn is_lapsed(&self, now: Micros) -> bool {
        lease_end(self.renewed) <= now.0
    }
}

/// The leases of all replicas, as one transaction reads them.
#[derive(Debug)]
pub struct ReplicaLeases(BTreeMap<String, Micros>);

impl ReplicaLeases {
    /// Returns the end of a subscriber's lease and the time at which it was last seen, given the columns of its row.
    pub fn resolve(&self, holder: &str, lease_end_time: i64, last_seen_time: i64) -> (Micros, Micros) {
        if lease_end_time < UNTIL_REPLICA_ENDS {
            return (Micros(lease_end_time), Micros(last_seen_time));
        }
        // A replica without a row was taken for dead; if it lives, it announces its subscribers again.
        let Some(renewed) = self.0.get(holder) else { return (Micros(0), Micros(last_seen_time)) };
        (Micros(lease_end(*renewed)), (*renewed).max(Micros(last_seen_time)))
    }

    /// Returns the ids of the replicas whose leases hold.
    pub fn live(&self, now: Micros) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(_, renewed)| lease_end(**renewed) > now.0).map(|(id, _)| id.as_str())
    }
}

impl Store {
    /// Renews the lease of a replica. Returns false when it had none: then those of its subscribers may have been ended too.
    pub async fn renew_replica(&self, id: &str, now: Micros) -> Result<bool> {
        let writer = self.writer()?;
        let renewed = ActiveModel { renew_time: Set(now.0), ..Default::default() };
        let renewed =
            Entity::update_many().set(renewed).filter(Column::Id.eq(id)).exec(&writer).await.map_err(failed)?;
        if renewed.rows_affected > 0 {
            return Ok(true);
        }
        let row = Model { id: id.to_owned(), renew_time: now.0 }.into_active_model();
        // An earlier attempt whose answer was lost may have inserted it meanwhile.
        let again = OnConflict::column(Column::Id).update_column(Column::RenewTime).to_owned();
        Entity::insert(row).on_conflict(again).exec_without_returning(&writer).await.map_err(failed)?;
        Ok(false)
    }

    /// Shortens the lease of every replica to the length of one that is written now: see `shorten_leases`.
    pub async fn shorten_replica_leases(&self, now: Micros) -> Result<()> {
        let lease = ActiveModel { renew_time: Set(now.0), ..Default::default() };
        let update = Entity::update_many().set(lease).filter(Column::RenewTime.gt(now.0));
        update.exec(&self.writer()?).await.map_err(failed)?;
        Ok(())
    }

    /// Returns the leases that have ended at `now`.
    pub async fn lapsed_replicas(&self, now: Micros) -> Result<Vec<ReplicaLease>> {
        let all = Entity::find().all(&self.reader()?).await.map_err(failed)?;
        let all = all.into_iter().map(|row| ReplicaLease { id: row.id, renewed: Micros(row.renew_time) });
        Ok(all.filter(|lease| lease.is_lapsed(now)).collect())
    }

    /// Deletes a lease, unless it was renewed since it was read.
    pub async fn forget_replica(&self, lapsed: &ReplicaLease) -> Result<()> {
        let row = Entity::delete_many()
            .filter(Column::Id.eq(lapsed.id.as_str()))
            .filter(Column::RenewTime.eq(lapsed.renewed.0));
        row.exec(&self.writer()?).await.map_err(failed)?;
        Ok(())
    }
}

impl ReadTx {
    /// Returns the leases of all replicas.
    pub(in crate::store) async fn replica_leases(&self) -> Result<ReplicaLeases> {
        let all = Entity::find().all(&self.tx).await.map_err(failed)?;
        Ok(ReplicaLeases(all.into_iter().map(|row| (row.id, Micros(row.renew_time))).collect()))
    }
}
