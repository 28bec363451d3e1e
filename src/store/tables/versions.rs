//! Queries of versions, by number, label and state.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select, sea_query::Expr,
    sea_query::ExprTrait as _,
};

use crate::domain::Result;
use crate::domain::command::PageRequest;
use crate::domain::label::Label;
use crate::domain::listing::VersionFilter;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::version::{Version, VersionState};
use crate::store::entity::versions::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::manifests::with_newest_manifest;
use crate::store::tables::ranges::within;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// The states in which a version holds its label.
const LIVE: [VersionState; 3] = [VersionState::Draft, VersionState::Staged, VersionState::Published];

/// Whether a row is the newest published version of its policy. The search starts at the highest number.
const IS_NEWEST_PUBLISHED: &str = "versions.number = (SELECT v.number FROM versions v WHERE v.namespace = versions.namespace \
     AND v.policy = versions.policy AND v.state = 'PUBLISHED' ORDER BY v.number DESC LIMIT 1)";

fn of(policy: &PolicyName) -> Select<Entity> {
    Entity::find()
        .filter(Column::Namespace.eq(policy.namespace.as_str()))
        .filter(Column::Policy.eq(policy.policy.as_str()))
}

/// Adds the condition of an index of versions in some states, word for word: with parameters SQLite would not use the index, and a look for
/// what is staged would read every version of a namespace.
fn in_states(query: Select<Entity>, states: &[VersionState]) -> Select<Entity> {
    let states: Vec<String> = states.iter().map(|state| format!("'{}'", state.as_str())).collect();
    query.filter(Expr::cust(format!("versions.state IN ({})", states.join(", "))))
}

pub(super) fn staged(namespace: &NamespaceId, limit: u64) -> Select<Entity> {
    // Both states are named, because the index of open versions has both.
    in_states(Entity::find(), &[VersionState::Draft, VersionState::Staged])
        .filter(Column::Namespace.eq(namespace.as_str()))
        .filter(Column::State.eq(VersionState::Staged.as_str()))
        .order_by_asc(Column::StageTime)
        .order_by_asc(Column::Policy)
        .limit(limit)
}

impl ReadTx {
    pub(super) async fn versions_of(&self, query: Select<Entity>) -> Result<Vec<Version>> {
        let rows = with_newest_manifest(query).all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| rows::version(self.authenticated::<Entity>(row)?)).collect()
    }

    /// Returns a version by number.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`.
    pub async fn version(&self, policy: &PolicyName, number: i64) -> Result<Version> {
        let found = self.find_version(policy, number).await?;
        found.ok_or_else(|| policy.version_not_found(number))
    }

    /// Returns a version by number, if it exists.
    pub async fn find_version(&self, policy: &PolicyName, number: i64) -> Result<Option<Version>> {
        let key = (policy.namespace.to_string(), policy.policy.to_string(), number);
        let row = with_newest_manifest(Entity::find_by_id(key)).one(&self.tx).await.map_err(failed)?;
        row.map(|row| rows::version(self.authenticated::<Entity>(row)?)).transpose()
    }

    /// Returns the live version that holds a label.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`.
    pub async fn labelled(&self, policy: &PolicyName, label: &Label) -> Result<Version> {
        let found = self.find_labelled(policy, label).await?;
        found.ok_or_else(|| policy.version_not_found(format_args!("v{label}")))
    }

    /// Returns the live version that holds a label, if there is one.
    pub async fn find_labelled(&self, policy: &PolicyName, label: &Label) -> Result<Option<Version>> {
        let query = in_states(of(policy).filter(Column::Label.eq(label.to_string())), &LIVE);
        Ok(self.versions_of(query).await?.pop())
    }

    /// Returns the versions that the targets of one activation name, in one query. Missing ones are left out.
    pub async fn versions_named(&self, namespace: &NamespaceId, targets: &[(&PolicyId, i64)]) -> Result<Vec<Version>> {
        let key = Expr::tuple([Expr::col(Column::Policy), Expr::col(Column::Number)]);
        // SQLite uses no index for the pairs alone; the list of policies lets it use one.
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Policy.is_in(targets.iter().map(|(policy, _)| policy.as_str())))
            .filter(key.in_tuples(targets.iter().map(|(policy, number)| (policy.as_str(), *number))));
        self.versions_of(query).await
    }

    /// Returns the live versions that hold the labels which the targets of one activation name, in one query. Missing ones are left out.
    pub async fn versions_labelled(
        &self,
        namespace: &NamespaceId,
        targets: &[(&PolicyId, &Label)],
    ) -> Result<Vec<Version>> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        let key = Expr::tuple([Expr::col(Column::Policy), Expr::col(Column::Label)]);
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Policy.is_in(targets.iter().map(|(policy, _)| policy.as_str())))
            .filter(key.in_tuples(targets.iter().map(|(policy, label)| (policy.as_str(), label.to_string()))));
        self.versions_of(in_states(query, &LIVE)).await
    }

    /// Returns the newest published version of each of these policies that has one, in one query.
    pub async fn newest_published(&self, namespace: &NamespaceId, policies: &[&PolicyId]) -> Result<Vec<Version>> {
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Policy.is_in(policies.iter().map(|policy| policy.as_str())))
            .filter(Expr::cust(IS_NEWEST_PUBLISHED));
        self.versions_of(query).await
    }

    /// Returns the staged versions of a namespace, those that were staged first, at most `limit`.
    pub async fn staged_versions(&self, namespace: &NamespaceId, limit: u64) -> Result<Vec<Version>> {
        self.versions_of(staged(namespace, limit)).await
    }

    /// Returns a page of versions.
    pub async fn versions(
        &self,
        policy: &PolicyName,
        page: &PageRequest<i64>,
        filter: &VersionFilter,
    ) -> Result<Vec<Version>> {
        let mut query = within(of(policy).limit(u64::from(page.size)), Column::Number, filter.numbers);
        query = match (filter.oldest_first, page.after) {
            (false, None) => query.order_by_desc(Column::Number),
            (false, Some(after)) => query.filter(Column::Number.lt(after)).order_by_desc(Column::Number),
            (true, None) => query.order_by_asc(Column::Number),
            (true, Some(after)) => query.filter(Column::Number.gt(after)).order_by_asc(Column::Number),
        };
        if filter.states.len() < VersionState::ALL.len() {
            query = in_states(query, &filter.states);
        }
        self.versions_of(query).await
    }
}

impl WriteTx {
    /// Adds a version and increments the count of the namespace. Its content must be stored already.
    pub async fn insert_version(&mut self, version: &Version) -> Result<()> {
        let usage = self.usage_mut();
        usage.versions += 1;
        usage.content_bytes = usage.content_bytes.saturating_add(version.size_bytes);
        self.insert_row::<Entity>(rows::version_row(version)?).await
    }

    /// Writes the columns that a change of state may change: state, stage and publish marks, manifest, etag.
    pub async fn update_version(&self, version: &Version) -> Result<()> {
        let Model { state, publisher, manifest, etag, stage_time, publish_time, .. } = rows::version_row(version)?;
        let change = |row: &mut Model| {
            *row = Model { state, publisher, manifest, etag, stage_time, publish_time, ..row.clone() }
        };
        let key = Column::Namespace
            .eq(version.policy.namespace.as_str())
            .and(Column::Policy.eq(version.policy.policy.as_str()))
            .and(Column::Number.eq(version.number));
        use Column::{Etag, Manifest, PublishTime, Publisher, StageTime, State};
        let columns = [State, Publisher, Manifest, Etag, StageTime, PublishTime];
        self.change_row::<Entity>(key, &columns, change).await
    }
}
