//! Queries of subscribers: open streams and reports, written in batches, each kind by one statement for many rows.
//!
//! Streams and reports write different columns, so neither overwrites the other. Only the replica that announced a stream last ends its lease
//! (`held_leases.rs`), so a stream that moved to another replica is not ended by the one it left. Invariant: a row is written only for the principal that owns it,
//! by a condition of the statement that writes it.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, SimpleExpr};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, IntoActiveModel as _, PaginatorTrait as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, QueryTrait as _, Select, Statement,
};

use crate::domain::Result;
use crate::domain::command::PageRequest;
use crate::domain::event::Cursor;
use crate::domain::limits::{
    SUBSCRIBER_GONE_SECONDS, SUBSCRIBER_ID_KEPT_SECONDS, SUBSCRIBER_OFFLINE_TTL_SECONDS,
    SUBSCRIBERS_OFFLINE_PER_PRINCIPAL_MAX,
};
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::subscriber::{Profile, Subscriber, SubscriberClaim, SubscriberId, SubscriberStatus};
use crate::domain::time::Micros;
use crate::store::entity::replicas;
use crate::store::entity::subscribers::{ActiveModel, Column, Entity, Model};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::replicas::UNTIL_REPLICA_ENDS;
use crate::store::tables::rows;
use crate::store::transaction::views::ReadTx;

/// Number of rows in one statement. PostgreSQL takes 65,535 parameters, SQLite 32,766; a row has 18.
pub const ROWS_PER_STATEMENT: usize = 500;

const GONE_MICROS: i64 = SUBSCRIBER_GONE_SECONDS * 1_000_000;

/// An open stream, as it is written to the database.
#[derive(Debug, Clone)]
pub struct Announced {
    /// The subscriber, and the principal that claims its id.
    pub claim: SubscriberClaim,
    /// The stream's own description of itself.
    pub profile: Profile,
}

/// Reports of a runtime, as they are written to the database.
#[derive(Debug, Clone)]
pub struct Reported {
    /// The subscriber, and the principal that claims its id.
    pub claim: SubscriberClaim,
    /// Sum of the reports since the last ones that were written.
    pub status: SubscriberStatus,
}

/// Selects the microseconds since the Unix epoch at the time of the query, not of its transaction.
const DATABASE_TIME: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// Among the subscribers that watch a policy ($4, as the column has it) and whose newest rejection was of an activation that moved $2 to
/// version $3: selects their number, the first one, and its reason.
const REJECTIONS: &str = "SELECT count(*) OVER (), s.id, s.refused_reason FROM pointer_changes p \
     JOIN events e ON e.namespace = p.namespace AND e.revision = p.revision \
     JOIN subscribers s ON s.namespace = p.namespace AND s.refused_revision = p.revision AND s.refused_epoch = e.epoch \
     WHERE p.namespace = $1 AND p.policy = $2 AND p.version = $3 AND (s.policies = '[]' OR s.policies LIKE $4 ESCAPE '!') \
     ORDER BY s.id LIMIT 1";

// `SubscriberStatus::then` in SQL: the row comes first, the new values after it. A test compares the two.
const APPLIED: &str = "(subscribers.applied_epoch, subscribers.applied_revision)";
const APPLIED_NOW: &str = "(excluded.applied_epoch, excluded.applied_revision)";
const REJECTED: &str = "(subscribers.rejected_epoch, subscribers.rejected_revision)";
const REJECTED_NOW: &str = "(excluded.rejected_epoch, excluded.rejected_revision)";

/// Whether the row has no owner yet, or belongs to the principal that writes it.
const IS_OWN: &str = "subscribers.owner IN ('', excluded.owner)";

/// Whether the reported status is of the set that the announced stream shows: there was no stream before, or it asked for the same
/// policies. Otherwise a subscriber would count for policies that it did not watch when it reported.
const IS_SAME_FILTER: &str = "subscribers.holder = '' OR subscribers.policies = excluded.policies";

/// Keeps a reported column unless the filter changed.
fn if_same_filter(column: &str, none: &str) -> SimpleExpr {
    Expr::cust(format!("CASE WHEN {IS_SAME_FILTER} THEN subscribers.{column} ELSE {none} END"))
}

fn if_applied_is_newer(column: &str) -> SimpleExpr {
    Expr::cust(format!("CASE WHEN {APPLIED_NOW} >= {APPLIED} THEN excluded.{column} ELSE subscribers.{column} END"))
}

fn if_rejected_stands(column: &str, none: &str) -> SimpleExpr {
    Expr::cust(format!(
        "CASE WHEN {REJECTED_NOW} >= {REJECTED} AND {REJECTED_NOW} >= {APPLIED} THEN excluded.{column} \
         WHEN {REJECTED_NOW} < {REJECTED} AND {REJECTED} > {APPLIED_NOW} THEN subscribers.{column} ELSE {none} END"
    ))
}

fn if_refusal_is_newer(column: &str) -> SimpleExpr {
    let newer = "(excluded.refused_epoch, excluded.refused_revision) >= (subscribers.refused_epoch, subscribers.refused_revision)";
    Expr::cust(format!("CASE WHEN {newer} THEN excluded.{column} ELSE subscribers.{column} END"))
}

fn if_place_is_newer(column: &str) -> SimpleExpr {
    let reaches = |place: &str| format!("({APPLIED_NOW} >= {place} OR {REJECTED_NOW} >= {place})");
    Expr::cust(format!(
        "CASE WHEN {} AND {} THEN excluded.{column} ELSE subscribers.{column} END",
        reaches(APPLIED),
        reaches(REJECTED)
    ))
}

fn row(claim: &SubscriberClaim, profile: &Profile, status: &SubscriberStatus) -> Result<Model> {
    Ok(Model {
        namespace: claim.name.namespace.to_string(),
        id: claim.name.id.to_string(),
        owner: claim.owner.clone(),
        labels: rows::to_json(&profile.attributes)?,
        policies: rows::to_json(&profile.policies)?,
        holder: String::new(),
        lease_end_time: 0,
        last_seen_time: 0,
        applied_epoch: status.applied.epoch,
        applied_revision: status.applied.revision,
        applied_matches: status.applied_matches,
        rejected_epoch: status.rejected.epoch,
        rejected_revision: status.rejected.revision,
        reason: status.reason.clone(),
        digest: status.digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        refused_epoch: status.refused.epoch,
        refused_revision: status.refused.revision,
        refused_reason: status.refusal.clone(),
    })
}

/// Matches the rows of these names, whoever owns them. SQLite uses no index for the pairs alone; the list of ids lets it use one.
fn named(claims: &[&SubscriberClaim]) -> SimpleExpr {
    let key = Expr::tuple([Expr::col(Column::Namespace), Expr::col(Column::Id)]);
    let pairs = claims.iter().map(|claim| (claim.name.namespace.as_str(), claim.name.id.as_str()));
    Column::Namespace
        .is_in(claims.iter().map(|claim| claim.name.namespace.as_str()))
        .and(Column::Id.is_in(claims.iter().map(|claim| claim.name.id.as_str())))
        .and(key.in_tuples(pairs))
}

/// Matches the rows of these names that belong to those who claim them.
pub(super) fn owned(claims: &[SubscriberClaim]) -> SimpleExpr {
    let claims: Vec<&SubscriberClaim> = claims.iter().collect();
    let key = Expr::tuple([Expr::col(Column::Namespace), Expr::col(Column::Id), Expr::col(Column::Owner)]);
    let owners =
        claims.iter().map(|claim| (claim.name.namespace.as_str(), claim.name.id.as_str(), claim.owner.as_str()));
    named(&claims).and(key.in_tuples(owners))
}

impl Store {
    /// Writes leases that last as long as that of their holder, with the descriptions of their streams. A changed filter clears what was reported under the old one. Takes at most
    /// `ROWS_PER_STATEMENT`, each name once. Returns the claims to ids of other owners, for which nothing was written.
    pub async fn open_leases(
        &self,
        holder: &str,
        announced: &[Announced],
        now: Micros,
    ) -> Result<BTreeSet<SubscriberClaim>> {
        let batch = || {
            let rows = announced.iter().map(|each| {
                let row = row(&each.claim, &each.profile, &SubscriberStatus::default())?;
                let lease = Model { holder: holder.to_owned(), lease_end_time: UNTIL_REPLICA_ENDS, ..row };
                Ok(Model { last_seen_time: now.0, ..lease }.into_active_model())
            });
            rows.collect()
        };
        let replace = OnConflict::columns([Column::Namespace, Column::Id])
            .update_columns([
                Column::Labels,
                Column::Policies,
                Column::Holder,
                Column::LeaseEndTime,
                Column::LastSeenTime,
                Column::Owner,
            ])
            .value(Column::AppliedEpoch, if_same_filter("applied_epoch", "0"))
            .value(Column::AppliedRevision, if_same_filter("applied_revision", "0"))
            .value(Column::AppliedMatches, if_same_filter("applied_matches", "FALSE"))
            .value(Column::RejectedEpoch, if_same_filter("rejected_epoch", "0"))
            .value(Column::RejectedRevision, if_same_filter("rejected_revision", "0"))
            .value(Column::Reason, if_same_filter("reason", "''"))
            .value(Column::Digest, if_same_filter("digest", "''"))
            .value(Column::RefusedEpoch, if_same_filter("refused_epoch", "0"))
            .value(Column::RefusedRevision, if_same_filter("refused_revision", "0"))
            .value(Column::RefusedReason, if_same_filter("refused_reason", "''"))
            .action_and_where(Expr::cust(IS_OWN))
            .to_owned();
        let claims: Vec<&SubscriberClaim> = announced.iter().map(|each| &each.claim).collect();
        self.write_claims(batch, &claims, replace, now).await
    }

    /// Writes reports. An older report does not overwrite a newer one. Takes at most `ROWS_PER_STATEMENT`, each name once. Returns the
    /// claims to ids of other owners, for which nothing was written.
    pub async fn report(&self, reported: &[Reported], now: Micros) -> Result<BTreeSet<SubscriberClaim>> {
        let batch = || {
            let rows = reported.iter().map(|each| {
                let row = row(&each.claim, &Profile::default(), &each.status)?;
                Ok(Model { last_seen_time: now.0, ..row }.into_active_model())
            });
            rows.collect()
        };
        let merge = OnConflict::columns([Column::Namespace, Column::Id])
            .update_columns([Column::LastSeenTime, Column::Owner])
            .value(Column::AppliedEpoch, if_applied_is_newer("applied_epoch"))
            .value(Column::AppliedRevision, if_applied_is_newer("applied_revision"))
            .value(Column::AppliedMatches, if_applied_is_newer("applied_matches"))
            .value(Column::RejectedEpoch, if_rejected_stands("rejected_epoch", "0"))
            .value(Column::RejectedRevision, if_rejected_stands("rejected_revision", "0"))
            .value(Column::Reason, if_rejected_stands("reason", "''"))
            .value(Column::Digest, if_place_is_newer("digest"))
            .value(Column::RefusedEpoch, if_refusal_is_newer("refused_epoch"))
            .value(Column::RefusedRevision, if_refusal_is_newer("refused_revision"))
            .value(Column::RefusedReason, if_refusal_is_newer("refused_reason"))
            .action_and_where(Expr::cust(IS_OWN))
            .to_owned();
        let claims: Vec<&SubscriberClaim> = reported.iter().map(|each| &each.claim).collect();
        self.write_claims(batch, &claims, merge, now).await
    }

    /// Writes the rows that `batch` builds of claims where `write` allows it, and returns the claims where it does not. Takes one
    /// statement, unless an id belongs to another principal.
    async fn write_claims(
        &self,
        batch: impl Fn() -> Result<Vec<ActiveModel>> + Sync,
        claims: &[&SubscriberClaim],
        write: OnConflict,
        now: Micros,
    ) -> Result<BTreeSet<SubscriberClaim>> {
        let writer = self.writer()?;
        let insert = |rows| Entity::insert_many(rows).on_conflict(write.clone());
        let written = insert(batch()?).exec_without_returning(&writer).await.map_err(failed)?;
        if written == claims.len() as u64 {
            return Ok(BTreeSet::new());
        }
        // Delete the row of the previous owner: otherwise a new owner of the id would inherit its reports.
        let before = now.0.saturating_sub(SUBSCRIBER_ID_KEPT_SECONDS * 1_000_000);
        let lapsed = named(claims).and(Column::LastSeenTime.lte(before)).and(Column::LeaseEndTime.lte(before));
        let freed = Entity::delete_many().filter(lapsed).exec(&writer).await.map_err(failed)?;
        if freed.rows_affected > 0 {
            insert(batch()?).exec_without_returning(&writer).await.map_err(failed)?;
        }
        let kept: Vec<(String, String, String)> = Entity::find()
            .filter(named(claims))
            .select_only()
            .columns([Column::Namespace, Column::Id, Column::Owner])
            .into_tuple()
            .all(&writer)
            .await
            .map_err(failed)?;
        let owners: BTreeMap<(&str, &str), &str> =
            kept.iter().map(|(namespace, id, owner)| ((namespace.as_str(), id.as_str()), owner.as_str())).collect();
        let is_of_another = |claim: &SubscriberClaim| {
            let owner = owners.get(&(claim.name.namespace.as_str(), claim.name.id.as_str()));
            owner.is_some_and(|owner| *owner != claim.owner)
        };
        Ok(claims.iter().filter(|claim| is_of_another(claim)).map(|claim| (*claim).clone()).collect())
    }

    /// Returns the database's time when several replicas share it; none for a file that one process uses alone.
    pub async fn time(&self) -> Result<Option<Micros>> {
        if !self.is_postgres() {
            return Ok(None);
        }
        let reader = self.reader()?;
        let asked = Statement::from_string(reader.get_database_backend(), DATABASE_TIME);
        let row = reader.query_one_raw(asked).await.map_err(failed)?;
        row.map(|row| row.try_get_by_index(0).map(Micros)).transpose().map_err(failed)
    }

    /// Deletes the oldest offline subscribers of each principal and namespace that has more of them than the limit.
    pub async fn forget_surplus(&self, now: Micros) -> Result<u64> {
        let ranked = format!(
            "lease_end_time <= {now} AND (namespace, id) IN (SELECT namespace, id FROM (SELECT namespace, id, row_number() OVER \
             (PARTITION BY namespace, owner ORDER BY last_seen_time DESC, id) AS place FROM subscribers \
             WHERE lease_end_time <= {now} AND owner <> '') ranked WHERE place > {SUBSCRIBERS_OFFLINE_PER_PRINCIPAL_MAX})",
            now = now.0
        );
        let surplus = Entity::delete_many().filter(Expr::cust(ranked));
        Ok(surplus.exec(&self.writer()?).await.map_err(failed)?.rows_affected)
    }

    /// Deletes subscribers that have been offline for long.
    pub async fn forget_subscribers(&self, now: Micros) -> Result<u64> {
        let before = now.0.saturating_sub(SUBSCRIBER_OFFLINE_TTL_SECONDS * 1_000_000);
        // One whose replica is gone without having ended its lease is offline too.
        let left_behind = Column::LeaseEndTime.eq(UNTIL_REPLICA_ENDS).and(
            Column::Holder
                .not_in_subquery(replicas::Entity::find().select_only().column(replicas::Column::Id).into_query()),
        );
        let old = Entity::delete_many()
            .filter(Column::LastSeenTime.lte(before))
            .filter(Column::LeaseEndTime.lte(now.0).or(left_behind));
        Ok(old.exec(&self.writer()?).await.map_err(failed)?.rows_affected)
    }
}

fn of(namespace: &NamespaceId) -> Select<Entity> {
    Entity::find().filter(Column::Namespace.eq(namespace.as_str()))
}

impl ReadTx {
    async fn subscribers_of(&self, query: Select<Entity>) -> Result<Vec<Subscriber>> {
        let found = query.order_by_asc(Column::Id).all(&self.tx).await.map_err(failed)?;
        let replicas = self.replica_leases().await?;
        let convert = |row: Model| {
            let lease = replicas.resolve(&row.holder, row.lease_end_time, row.last_seen_time);
            rows::subscriber(row, lease)
        };
        found.into_iter().map(convert).collect()
    }

    /// Returns a page of subscribers, in order of ids.
    pub async fn subscribers(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<SubscriberId>,
    ) -> Result<Vec<Subscriber>> {
        let mut query = of(namespace).limit(u64::from(page.size));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after.as_str()));
        }
        self.subscribers_of(query).await
    }

    /// Returns some subscribers, in order of ids. Takes at most `ROWS_PER_STATEMENT`.
    pub async fn subscribers_named(&self, namespace: &NamespaceId, ids: &[SubscriberId]) -> Result<Vec<Subscriber>> {
        self.subscribers_of(of(namespace).filter(Column::Id.is_in(ids.iter().map(SubscriberId::as_str)))).await
    }

    /// Returns the newest rejections of activations of a version: how many subscribers rejected, and the first by id with its reason.
    pub async fn rejections(&self, policy: &PolicyName, version: i64) -> Result<Option<(i64, String, String)>> {
        let id = policy.policy.as_str();
        let watched = format!("%\"{}\"%", id.replace('!', "!!").replace('_', "!_").replace('%', "!%"));
        let values = [policy.namespace.as_str().into(), id.into(), version.into(), watched.into()];
        let backend = self.tx.get_database_backend();
        let row = self.tx.query_one_raw(Statement::from_sql_and_values(backend, REJECTIONS, values)).await;
        let Some(row) = row.map_err(failed)? else { return Ok(None) };
        row.try_get_many_by_index().map(Some).map_err(failed)
    }

    /// Returns every subscriber whose lease holds, or that was seen less than `SUBSCRIBER_GONE_SECONDS` ago, in order of ids, without
    /// labels and reasons; and the number of offline ones. Subscribers that only reported are not in the list.
    pub async fn recent_subscribers(&self, namespace: &NamespaceId, now: Micros) -> Result<(Vec<Subscriber>, u64)> {
        type Standings = (String, String, String, i64, i64, bool, i64, i64, String, i64, i64);
        let replicas = self.replica_leases().await?;
        let gone = now.0.saturating_sub(GONE_MICROS);
        let recent: Vec<Standings> = of(namespace)
            .filter(
                // A stream that ends normally also ends its lease.
                Column::LeaseEndTime.gt(now.0).or(Column::LastSeenTime.gt(gone)),
            )
            // A subscriber that reported but never watched asked for no policy, so convergence does not wait for it.
            .filter(Column::Holder.ne(""))
            .select_only()
            .columns([Column::Id, Column::Owner, Column::Policies, Column::AppliedEpoch, Column::AppliedRevision])
            .columns([Column::AppliedMatches, Column::RejectedEpoch, Column::RejectedRevision, Column::Holder])
            .columns([Column::LeaseEndTime, Column::LastSeenTime])
            .order_by_asc(Column::Id)
            .into_tuple()
            .all(&self.tx)
            .await
            .map_err(failed)?;
        let is_left_behind =
            Column::LeaseEndTime.eq(UNTIL_REPLICA_ENDS).and(Column::Holder.is_not_in(replicas.live(now)));
        let is_offline = Column::LeaseEndTime.lte(now.0).or(is_left_behind);
        let offline = of(namespace).filter(is_offline).count(&self.tx).await.map_err(failed)?;
        let mut found = Vec::new();
        for (id, owner, policies, epoch, revision, matches, rejected_epoch, rejected, holder, end, seen) in recent {
            let (lease_end, last_seen) = replicas.resolve(&holder, end, seen);
            // A replica that is gone may have left it open long ago.
            if lease_end <= now && last_seen.0 <= gone {
                continue;
            }
            let status = SubscriberStatus {
                applied: Cursor { epoch, revision },
                applied_matches: matches,
                rejected: Cursor { epoch: rejected_epoch, revision: rejected },
                ..SubscriberStatus::default()
            };
            found.push(Subscriber {
                id: SubscriberId::parse("id", &id)?,
                owner,
                profile: Profile { policies: rows::json("policies", &policies)?, attributes: BTreeMap::new() },
                status,
                last_seen,
                lease_end,
            });
        }
        Ok((found, offline))
    }
}
