//! Queries of which versions are published, of a policy, a namespace or the store.
//!
//! They only lead to versions: nothing is decided by them, and whoever reads the rows authenticates them.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::domain::Result;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::version::VersionState;
use crate::store::entity::{policies, versions};
use crate::store::error::failed;
use crate::store::transaction::views::ReadTx;

/// Whose versions are looked for.
#[derive(Debug, Clone, Copy)]
pub enum PublishedScope<'a> {
    /// Those of all namespaces.
    Store,
    /// Those of a namespace.
    Namespace(&'a NamespaceId),
    /// Those of a policy.
    Policy(&'a PolicyName),
}

impl PublishedScope<'_> {
    fn published(self) -> Condition {
        use versions::Column as V;
        let published = Condition::all().add(V::State.eq(VersionState::Published.as_str()));
        match self {
            Self::Store => published,
            Self::Namespace(namespace) => published.add(V::Namespace.eq(namespace.as_str())),
            Self::Policy(PolicyName { namespace, policy }) => {
                published.add(V::Namespace.eq(namespace.as_str())).add(V::Policy.eq(policy.as_str()))
            }
        }
    }

    fn active(self) -> Condition {
        use policies::Column as P;
        let active = Condition::all().add(P::ActiveVersion.gt(0));
        match self {
            Self::Store => active,
            Self::Namespace(namespace) => active.add(P::Namespace.eq(namespace.as_str())),
            Self::Policy(PolicyName { namespace, policy }) => {
                active.add(P::Namespace.eq(namespace.as_str())).add(P::Id.eq(policy.as_str()))
            }
        }
    }
}

/// Returns the names that are valid.
fn names(found: Vec<(String, String, i64)>) -> Vec<(PolicyName, i64)> {
    let name = |(namespace, policy, number): (String, String, i64)| {
        let namespace = NamespaceId::parse("namespace", &namespace).ok()?;
        Some((PolicyName { namespace, policy: PolicyId::parse("policy", &policy).ok()? }, number))
    };
    found.into_iter().filter_map(name).collect()
}

impl ReadTx {
    /// Returns how many versions are published.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn count_published(&self, scope: PublishedScope<'_>) -> Result<u64> {
        versions::Entity::find().filter(scope.published()).count(&self.tx).await.map_err(failed)
    }

    /// Returns the first active versions, in order of names.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn active_names(&self, scope: PublishedScope<'_>, limit: usize) -> Result<Vec<(PolicyName, i64)>> {
        use policies::Column as P;
        let query = policies::Entity::find()
            .select_only()
            .columns([P::Namespace, P::Id, P::ActiveVersion])
            .filter(scope.active())
            .order_by_asc(P::Namespace)
            .order_by_asc(P::Id)
            .limit(limit as u64);
        query.into_tuple().all(&self.tx).await.map_err(failed).map(names)
    }

    /// Returns the versions that were published last, the newest first.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn newest_published_names(
        &self,
        scope: PublishedScope<'_>,
        limit: usize,
    ) -> Result<Vec<(PolicyName, i64)>> {
        use versions::Column as V;
        let query = versions::Entity::find()
            .select_only()
            .columns([V::Namespace, V::Policy, V::Number])
            .filter(scope.published())
            .order_by_desc(V::PublishTime)
            .order_by_desc(V::Number)
            .order_by_asc(V::Namespace)
            .order_by_asc(V::Policy)
            .limit(limit as u64);
        query.into_tuple().all(&self.tx).await.map_err(failed).map(names)
    }
}
