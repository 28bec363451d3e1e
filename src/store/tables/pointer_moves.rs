//! When pointers moved, and where to.

use std::collections::BTreeMap;

use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use super::pointers::pointers_of;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::store::entity::pointer_changes::Column;
use crate::store::entity::policies;
use crate::store::error::failed;
use crate::store::transaction::views::ReadTx;

impl ReadTx {
    /// Returns the last revision at which the pointer moved to a version, by the pointer history; none when it never did.
    pub async fn moved_to(&self, policy: &PolicyName, version: i64) -> Result<Option<i64>> {
        let newest = pointers_of(policy).filter(Column::Version.eq(version)).order_by_desc(Column::Revision);
        Ok(newest.one(&self.tx).await.map_err(failed)?.map(|row| row.revision))
    }

    /// Whether the pointer moved after a revision, by the pointer history.
    pub async fn moved_since(&self, policy: &PolicyName, revision: i64) -> Result<bool> {
        let later = pointers_of(policy).filter(Column::Revision.gt(revision)).one(&self.tx).await;
        Ok(later.map_err(failed)?.is_some())
    }

    /// Returns at most `limit` of the last moves of a pointer, in the order of the log: the revision of each, and the version it names since.
    pub async fn newest_moves(&self, policy: &PolicyName, limit: u64) -> Result<Vec<(i64, i64)>> {
        let newest = pointers_of(policy).select_only().column(Column::Revision).column(Column::Version);
        let newest = newest.order_by_desc(Column::Revision).limit(limit);
        let mut moves: Vec<(i64, i64)> = newest.into_tuple().all(&self.tx).await.map_err(failed)?;
        moves.reverse();
        Ok(moves)
    }

    /// Returns the newest event that moved the pointer of one of these policies away from the version named with it; none when each pointer
    /// is at its version, 0 for nothing.
    pub async fn moved_away(
        &self,
        namespace: &NamespaceId,
        versions: &BTreeMap<PolicyId, i64>,
    ) -> Result<Option<Cursor>> {
        use policies::Column as P;
        let elsewhere = versions.iter().fold(Condition::any(), |any, (policy, version)| {
            any.add(P::Id.eq(policy.as_str()).and(P::ActiveVersion.ne(*version)))
        });
        let newest: Option<i64> = policies::Entity::find()
            .select_only()
            .column(P::ActiveRevision)
            .filter(P::Namespace.eq(namespace.as_str()))
            .filter(elsewhere)
            .order_by_desc(P::ActiveRevision)
            .limit(1)
            .into_tuple()
            .one(&self.tx)
            .await
            .map_err(failed)?;
        let Some(revision) = newest else { return Ok(None) };
        let events = self.statements(namespace, [revision].into_iter()).await?;
        Ok(events.get(&revision).map(|event| event.cursor))
    }
}
