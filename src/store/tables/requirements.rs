//! Queries of active versions by what they require of other policies.

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::version::Version;
use crate::store::entity::versions::{Column, Entity};
use crate::store::transaction::views::ReadTx;

/// Whether a row has requirements. The text is that of the partial index, so that both databases use it.
const HAS_REQUIREMENTS: &str = "versions.requires <> '[]'";
/// Whether a row is the active version of its policy.
const IS_ACTIVE: &str = "versions.number = (SELECT p.active_version FROM policies p WHERE p.namespace = versions.namespace \
     AND p.id = versions.policy)";

impl ReadTx {
    /// Returns the active versions of a namespace that require anything of one of these policies, in one query.
    pub async fn active_requiring(&self, namespace: &NamespaceId, policies: &[&PolicyId]) -> Result<Vec<Version>> {
        // Ids stand in quotes in the JSON of the column, and have none. The `_` in an id stands for any character here, so a
        // few versions too many may be found: the decision compares ids.
        let names = |policy: &&PolicyId| Expr::col(Column::Requires).like(format!("%\"{policy}\"%"));
        let any = policies.iter().map(names).fold(Condition::any(), Condition::add);
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Expr::cust(HAS_REQUIREMENTS))
            .filter(Expr::cust(IS_ACTIVE))
            .filter(any);
        self.versions_of(query).await
    }
}
