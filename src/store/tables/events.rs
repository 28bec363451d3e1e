//! Queries of the table `events`: the log, read in order from any cursor.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    QueryTrait as _, sea_query::UnionType,
};

use crate::domain::command::PageRequest;
use crate::domain::digest::Hash;
use crate::domain::event::{Cursor, Event};
use crate::domain::listing::EventFilter;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::entity::events::{Column, Entity};
use crate::store::entity::pointer_changes;
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::ranges::within;
use crate::store::tables::rows;
use crate::store::transaction::views::ReadTx;

/// Maximum of events asked for by revision in one statement. PostgreSQL takes 65,535 parameters, SQLite 32,766.
const EVENTS_PER_QUERY: usize = 500;
/// Maximum of events of several namespaces asked for in one statement. SQLite allows expressions 1,000 deep, and each event adds to the
/// depth.
const HASHES_PER_QUERY: usize = 100;

impl Store {
    /// Returns the hashes of the events at some cursors, one in each namespace. Cursors without an event are left out.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub(in crate::store) async fn event_hashes(
        &self,
        cursors: &[(&NamespaceId, Cursor)],
    ) -> Result<BTreeMap<NamespaceId, Hash>> {
        let mut found = BTreeMap::new();
        for chunk in cursors.chunks(HASHES_PER_QUERY) {
            let each = chunk.iter().map(|(namespace, cursor)| {
                Column::Namespace
                    .eq(namespace.as_str())
                    .and(Column::Revision.eq(cursor.revision))
                    .and(Column::Epoch.eq(cursor.epoch))
            });
            let any = each.fold(Condition::any(), Condition::add);
            let query = Entity::find().select_only().columns([Column::Namespace, Column::Hash]).filter(any);
            let rows = query.into_tuple::<(String, Vec<u8>)>().all(&self.reader_in_outage()).await.map_err(failed)?;
            for (namespace, hash) in rows {
                let hash = Hash::try_from(hash.as_slice()).map_err(|_| Error::data_loss("a hash has not 32 bytes"))?;
                found.insert(NamespaceId::parse("namespace", &namespace)?, hash);
            }
        }
        Ok(found)
    }

    /// Returns the hash of the event at a cursor, or none when there is no event.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn event_hash(&self, namespace: &NamespaceId, cursor: Cursor) -> Result<Option<Hash>> {
        let row = Entity::find_by_id((namespace.to_string(), cursor.revision));
        let row = row.one(&self.reader_in_outage()).await.map_err(failed)?.map(rows::event).transpose()?;
        Ok(row.filter(|event| event.cursor == cursor).map(|event| event.hash))
    }
}

impl ReadTx {
    /// Returns one event.
    ///
    /// # Errors
    /// `DATA_LOSS` when a pointer names an event that does not exist.
    pub async fn event(&self, namespace: &NamespaceId, revision: i64) -> Result<Event> {
        let row = Entity::find_by_id((namespace.to_string(), revision)).one(&self.tx).await.map_err(failed)?;
        let row = row.ok_or_else(|| Error::data_loss(format!("{namespace} has no event {revision}")))?;
        rows::event(row)
    }

    /// Returns some events by revision. Revisions without an event are left out.
    pub async fn events_at(&self, namespace: &NamespaceId, revisions: &[i64]) -> Result<BTreeMap<i64, Event>> {
        let mut found = BTreeMap::new();
        for chunk in revisions.chunks(EVENTS_PER_QUERY) {
            let query = Entity::find()
                .filter(Column::Namespace.eq(namespace.as_str()))
                .filter(Column::Revision.is_in(chunk.iter().copied()));
            for row in query.all(&self.tx).await.map_err(failed)? {
                found.insert(row.revision, rows::event(row)?);
            }
        }
        Ok(found)
    }

    /// Returns at most `limit` events after a revision, in order.
    pub async fn events_after(&self, namespace: &NamespaceId, revision: i64, limit: u32) -> Result<Vec<Event>> {
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Revision.gt(revision))
            .order_by_asc(Column::Revision)
            .limit(u64::from(limit));
        query.all(&self.tx).await.map_err(failed)?.into_iter().map(rows::event).collect()
    }

    /// Returns a page of the log.
    pub async fn events(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<i64>,
        filter: &EventFilter,
    ) -> Result<Vec<Event>> {
        let mut query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Revision.gt(filter.after_revision()))
            .limit(u64::from(page.size));
        query = within(query, Column::Time, filter.times);
        query = within(query, Column::Revision, filter.revisions);
        if let Some(policy) = &filter.policy {
            // An activation of several policies is about each of them. A union lets each half use its index.
            let mut about = Entity::find()
                .select_only()
                .column(Column::Revision)
                .filter(Column::Namespace.eq(namespace.as_str()))
                .filter(Column::Policy.eq(policy.as_str()))
                .into_query();
            let moved = pointer_changes::Entity::find()
                .select_only()
                .column(pointer_changes::Column::Revision)
                .filter(pointer_changes::Column::Namespace.eq(namespace.as_str()))
                .filter(pointer_changes::Column::Policy.eq(policy.as_str()))
                .into_query();
            about.union(UnionType::Distinct, moved);
            query = query.filter(Column::Revision.in_subquery(about));
        }
        query = match (filter.newest_first, page.after) {
            (false, Some(after)) => query.filter(Column::Revision.gt(after)).order_by_asc(Column::Revision),
            (false, None) => query.order_by_asc(Column::Revision),
            (true, Some(after)) => query.filter(Column::Revision.lt(after)).order_by_desc(Column::Revision),
            (true, None) => query.order_by_desc(Column::Revision),
        };
        query.all(&self.tx).await.map_err(failed)?.into_iter().map(rows::event).collect()
    }

    /// Returns the last revision written at or before a time, 0 when there is none.
    pub async fn revision_at(&self, namespace: &NamespaceId, time: Micros) -> Result<i64> {
        let newest: Option<Option<i64>> = Entity::find()
            .select_only()
            .column_as(Column::Revision.max(), "revision")
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Time.lte(time.0))
            .into_tuple()
            .one(&self.tx)
            .await
            .map_err(failed)?;
        Ok(newest.flatten().unwrap_or(0))
    }
}
