//! Queries of the leases of subscribers that a replica holds: how they end, and whether the database has what the replica has.

use std::collections::BTreeSet;

use sea_orm::sea_query::{Expr, ExprTrait as _, SimpleExpr};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QuerySelect as _,
    Select,
};

use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::{SubscriberClaim, SubscriberId, SubscriberName};
use crate::domain::time::Micros;
use crate::store::entity::subscribers::{ActiveModel, Column, Entity};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::replicas::{ReplicaLease, UNTIL_REPLICA_ENDS, lease_end};
use crate::store::tables::rows::unreadable;
use crate::store::tables::subscribers::owned;

/// Matches the rows of open streams of a replica.
fn held(holder: &str) -> SimpleExpr {
    Column::Holder.eq(holder).and(Column::LeaseEndTime.eq(UNTIL_REPLICA_ENDS))
}

impl Store {
    /// Ends the leases of streams, without regard to clocks. A lease that another replica has written since is kept.
    pub async fn end(&self, holder: &str, claims: &[SubscriberClaim], now: Micros) -> Result<()> {
        self.let_go(holder, claims, 0, now).await
    }

    /// Lets the leases of streams last for their usual time without their replica. A lease that another replica has written since is kept.
    pub async fn hand_over(&self, holder: &str, claims: &[SubscriberClaim], now: Micros) -> Result<()> {
        self.let_go(holder, claims, lease_end(now), now).await
    }

    async fn let_go(&self, holder: &str, claims: &[SubscriberClaim], end: i64, now: Micros) -> Result<()> {
        let lease = ActiveModel { lease_end_time: Set(end), last_seen_time: Set(now.0), ..Default::default() };
        let update = Entity::update_many().set(lease).filter(owned(claims)).filter(Column::Holder.eq(holder));
        update.exec(&self.writer()?).await.map_err(failed)?;
        Ok(())
    }

    /// Ends the leases of all subscribers of a replica whose own lease has ended. They were last seen when it was last renewed, or reported
    /// after that.
    pub async fn end_leases_of(&self, lapsed: &ReplicaLease) -> Result<u64> {
        let renewed = lapsed.renewed.0;
        let seen = format!("CASE WHEN last_seen_time < {renewed} THEN {renewed} ELSE last_seen_time END");
        let update = Entity::update_many()
            .col_expr(Column::LeaseEndTime, Expr::value(0_i64))
            .col_expr(Column::LastSeenTime, Expr::cust(seen))
            .filter(held(&lapsed.id));
        Ok(update.exec(&self.writer()?).await.map_err(failed)?.rows_affected)
    }

    /// Shortens every lease that ends by time to the length of one that is written now: a clock that was ahead may have written longer ones
    /// that nobody renews.
    pub async fn shorten_leases(&self, now: Micros) -> Result<()> {
        let lease = ActiveModel { lease_end_time: Set(lease_end(now)), ..Default::default() };
        let update = Entity::update_many()
            .set(lease)
            .filter(Column::LeaseEndTime.gt(lease_end(now)))
            .filter(Column::LeaseEndTime.lt(UNTIL_REPLICA_ENDS));
        update.exec(&self.writer()?).await.map_err(failed)?;
        Ok(())
    }

    /// Returns the number of open streams' leases that a replica holds.
    pub async fn count_held(&self, holder: &str) -> Result<u64> {
        Entity::find().filter(held(holder)).count(&self.reader()?).await.map_err(failed)
    }

    /// Returns the claims whose leases a replica holds.
    pub async fn held(&self, holder: &str) -> Result<BTreeSet<SubscriberClaim>> {
        self.claims(Entity::find().filter(held(holder))).await
    }

    /// Returns those of some claims whose leases another replica holds, or did until `now`. Takes at most `ROWS_PER_STATEMENT`.
    pub async fn held_elsewhere(
        &self,
        holder: &str,
        claims: &[SubscriberClaim],
        now: Micros,
    ) -> Result<BTreeSet<SubscriberClaim>> {
        let elsewhere = Column::Holder.ne(holder).and(Column::LeaseEndTime.gt(now.0));
        self.claims(Entity::find().filter(owned(claims)).filter(elsewhere)).await
    }

    async fn claims(&self, query: Select<Entity>) -> Result<BTreeSet<SubscriberClaim>> {
        let columns = query.select_only().columns([Column::Namespace, Column::Id, Column::Owner]);
        let rows: Vec<(String, String, String)> = columns.into_tuple().all(&self.reader()?).await.map_err(failed)?;
        let claim = |(namespace, id, owner): (String, String, String)| {
            let name = SubscriberName {
                namespace: NamespaceId::parse("namespace", &namespace).map_err(unreadable("namespace"))?,
                id: SubscriberId::parse("id", &id).map_err(unreadable("subscriber"))?,
            };
            Ok(SubscriberClaim { name, owner })
        };
        rows.into_iter().map(claim).collect()
    }
}
