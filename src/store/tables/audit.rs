//! Queries for the check of a log: they read all that a namespace has, page by page, in one view.
//!
//! A row that is wrong is reported, and the check continues.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::sea_query::{Expr, ExprTrait as _, SimpleExpr};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, Iterable as _, ModelTrait as _, PaginatorTrait as _, PrimaryKeyToColumn as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use crate::domain::Result;
use crate::domain::event::{Cursor, Fingerprint, Head, Position, RowChange};
use crate::domain::name::NamespaceId;
use crate::domain::quota::Usage;
use crate::domain::version::{Version, VersionState};
use crate::store::authenticated::AuthenticatedTable;
use crate::store::entity::{
    approvals, events, guardrails, imports, manifests, namespaces, pointer_changes, policies, reports, revoked_tokens,
    role_bindings, schedules, signing_keys, versions,
};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::ReadTx;

/// Number of rows read at once. A policy's settings may have 256 KiB.
const PAGE_ROWS: u64 = 100;

/// Key after which a page of versions begins: policy and number.
pub type VersionKey = (String, i64);

/// A row as it is stored.
#[derive(Debug, Clone)]
pub struct StoredRow {
    /// The row's key, and the digest of its columns.
    pub row: RowChange,
    /// Whether the row's MAC is this server's.
    pub is_authentic: bool,
}

/// Index columns of an event. No signature covers them: they only serve to find events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventIndex {
    /// The event's revision.
    pub revision: i64,
    /// The policy by which the event is found.
    pub policy: Option<String>,
    /// The time by which the event is found.
    pub time: i64,
}

/// A row of the pointer history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PointerRow {
    /// Revision of the event that moved the pointer.
    pub revision: i64,
    /// The policy.
    pub policy: String,
    /// The version it moved to.
    pub version: i64,
}

impl ReadTx {
    /// Returns the head of a log, and ignores the other columns of its row.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`; `DATA_LOSS` when the columns are no valid head.
    pub async fn log_head(&self, namespace: &NamespaceId) -> Result<Head> {
        let row = namespaces::Entity::find_by_id(namespace.as_str()).one(&self.tx).await.map_err(failed)?;
        rows::head(&row.ok_or_else(|| namespace.not_found())?)
    }

    /// Returns the next namespace in order of ids, whatever its row states. Ids that are not valid are left out.
    pub async fn namespace_after(&self, after: &str) -> Result<Option<NamespaceId>> {
        let mut after = after.to_owned();
        loop {
            let query = namespaces::Entity::find()
                .filter(namespaces::Column::Id.gt(after))
                .order_by_asc(namespaces::Column::Id)
                .limit(1);
            let Some(row) = query.one(&self.tx).await.map_err(failed)? else { return Ok(None) };
            match rows::namespace_id(&row.id) {
                Ok(id) => return Ok(Some(id)),
                Err(_) => after = row.id,
            }
        }
    }

    /// Returns the usage that the row of a namespace states, and the usage as counted from the rows.
    pub async fn usage(&self, namespace: &NamespaceId) -> Result<(Usage, Usage)> {
        use {policies::Column as P, versions::Column as V};
        let row = namespaces::Entity::find_by_id(namespace.as_str()).one(&self.tx).await.map_err(failed)?;
        let said = rows::usage(&row.ok_or_else(|| namespace.not_found())?);
        let own_policies = policies::Entity::find().filter(P::Namespace.eq(namespace.as_str()));
        let policies = own_policies.count(&self.tx).await.map_err(failed)?;
        let mut counted = Usage { policies: i64::try_from(policies).unwrap_or(i64::MAX), ..said };
        (counted.versions, counted.content_bytes) = (0, 0);
        let sizes =
            versions::Entity::find().select_only().columns([V::SizeBytes]).filter(V::Namespace.eq(namespace.as_str()));
        let sizes: Vec<i64> = sizes.into_tuple().all(&self.tx).await.map_err(failed)?;
        for size in sizes {
            counted.versions += 1;
            counted.content_bytes = counted.content_bytes.saturating_add(size);
        }
        Ok((said, counted))
    }

    /// Returns the index columns of the events from one revision to another, in order.
    pub async fn event_index(&self, namespace: &NamespaceId, from: i64, to: i64) -> Result<Vec<EventIndex>> {
        use events::Column as E;
        let query = events::Entity::find()
            .select_only()
            .columns([E::Revision, E::Policy, E::Time])
            .filter(E::Namespace.eq(namespace.as_str()))
            .filter(E::Revision.between(from, to))
            .order_by_asc(E::Revision);
        let found: Vec<(i64, Option<String>, i64)> = query.into_tuple().all(&self.tx).await.map_err(failed)?;
        Ok(found.into_iter().map(|(revision, policy, time)| EventIndex { revision, policy, time }).collect())
    }

    /// Returns the cursor and the fingerprint of each event that is stored at one of some revisions.
    pub async fn stored_positions(
        &self,
        namespace: &NamespaceId,
        revisions: &BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, Position>> {
        use events::Column as E;
        let query = events::Entity::find()
            .select_only()
            .columns([E::Revision, E::Epoch, E::Hash])
            .filter(E::Namespace.eq(namespace.as_str()))
            .filter(E::Revision.is_in(revisions.iter().copied()));
        let found: Vec<(i64, i64, Vec<u8>)> = query.into_tuple().all(&self.tx).await.map_err(failed)?;
        let position = |(revision, epoch, hash): (i64, i64, Vec<u8>)| {
            // A hash of another length has no fingerprint.
            let event = hash.as_slice().try_into().ok().and_then(Fingerprint::of);
            (revision, Position { cursor: Cursor { epoch, revision }, event })
        };
        Ok(found.into_iter().map(position).collect())
    }

    /// Returns at most `limit` rows of the pointer history from one revision to another, in order.
    pub async fn pointer_rows(
        &self,
        namespace: &NamespaceId,
        from: i64,
        to: i64,
        limit: Option<u64>,
    ) -> Result<Vec<PointerRow>> {
        use pointer_changes::Column as P;
        let query = pointer_changes::Entity::find()
            .filter(P::Namespace.eq(namespace.as_str()))
            .filter(P::Revision.between(from, to))
            .order_by_asc(P::Revision)
            .order_by_asc(P::Policy)
            .limit(limit);
        let found = query.all(&self.tx).await.map_err(failed)?.into_iter();
        Ok(found.map(|row| PointerRow { revision: row.revision, policy: row.policy, version: row.version }).collect())
    }

    /// Returns the pointers of all policies as (version, revision). Policies whose pointer never moved are left out.
    pub async fn pointers(&self, namespace: &NamespaceId) -> Result<BTreeMap<String, (i64, i64)>> {
        use policies::Column as P;
        let moved = P::ActiveVersion.ne(0).or(P::ActiveRevision.ne(0));
        let query = policies::Entity::find()
            .select_only()
            .columns([P::Id, P::ActiveVersion, P::ActiveRevision])
            .filter(P::Namespace.eq(namespace.as_str()))
            .filter(moved);
        let found: Vec<(String, i64, i64)> = query.into_tuple().all(&self.tx).await.map_err(failed)?;
        Ok(found.into_iter().map(|(policy, version, revision)| (policy, (version, revision))).collect())
    }

    /// Reads every row that the events of this log name, table by table, and passes each to `take`.
    pub async fn stored_rows(&self, namespace: &NamespaceId, mut take: impl FnMut(StoredRow)) -> Result<()> {
        let own = namespace.as_str();
        let take = &mut take;
        self.rows_of::<policies::Entity>(Some(policies::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<versions::Entity>(Some(versions::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<reports::Entity>(Some(reports::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<approvals::Entity>(Some(approvals::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<guardrails::Entity>(Some(guardrails::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<manifests::Entity>(Some(manifests::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<imports::Entity>(Some(imports::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<role_bindings::Entity>(Some(role_bindings::Column::Namespace.eq(own)), take).await?;
        self.rows_of::<schedules::Entity>(Some(schedules::Column::Namespace.eq(own)), take).await?;
        if namespace.is_system() {
            self.rows_of::<namespaces::Entity>(None, take).await?;
            self.rows_of::<signing_keys::Entity>(None, take).await?;
            self.rows_of::<revoked_tokens::Entity>(None, take).await?;
        }
        Ok(())
    }

    async fn rows_of<E: AuthenticatedTable>(
        &self,
        of: Option<SimpleExpr>,
        take: &mut impl FnMut(StoredRow),
    ) -> Result<()> {
        let key: Vec<E::Column> = E::PrimaryKey::iter().map(|part| part.into_column()).collect();
        let mut after: Option<Vec<SimpleExpr>> = None;
        loop {
            let mut query = E::find().limit(PAGE_ROWS);
            for column in &key {
                query = query.order_by_asc(*column);
            }
            if let Some(of) = &of {
                query = query.filter(of.clone());
            }
            if let Some(after) = after {
                let columns = Expr::tuple(key.iter().map(|column| Expr::col((E::default(), *column))));
                query = query.filter(columns.gt(Expr::tuple(after)));
            }
            let page = query.all(&self.tx).await.map_err(failed)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(key.iter().map(|column| Expr::val(last.get(*column))).collect());
            let is_last = (page.len() as u64) < PAGE_ROWS;
            for row in page {
                take(self.stored::<E>(row)?);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn stored<E: AuthenticatedTable>(&self, row: E::Model) -> Result<StoredRow> {
        let named = self.row_change::<E>(&row)?;
        Ok(StoredRow { row: named, is_authentic: self.authenticated::<E>(row).is_ok() })
    }

    /// Returns the published versions of a page, and the key after which the next page begins. Rows that are not authentic are left out:
    /// `stored_rows` reports them.
    pub async fn published_page(
        &self,
        namespace: &NamespaceId,
        after: Option<VersionKey>,
    ) -> Result<(Vec<Version>, Option<VersionKey>)> {
        use versions::Column as V;
        let mut query = versions::Entity::find()
            .filter(V::Namespace.eq(namespace.as_str()))
            .order_by_asc(V::Policy)
            .order_by_asc(V::Number)
            .limit(PAGE_ROWS);
        if let Some((policy, number)) = after {
            let key = Expr::tuple([Expr::col(V::Policy), Expr::col(V::Number)]);
            query = query.filter(key.gt(Expr::tuple([Expr::val(policy), Expr::val(number)])));
        }
        let page = query.all(&self.tx).await.map_err(failed)?;
        let next = page.last().map(|last| (last.policy.clone(), last.number));
        let authenticated =
            page.into_iter().filter_map(|row| self.authenticated::<versions::Entity>(row).and_then(rows::version).ok());
        Ok((authenticated.filter(|version| version.state == VersionState::Published).collect(), next))
    }
}
