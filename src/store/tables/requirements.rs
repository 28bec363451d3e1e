//! Queries of active versions by what they require of other policies.

use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::name::PolicyId;
use crate::domain::version::Version;
use crate::store::entity::versions::{Column, Entity};
use crate::store::transaction::views::WriteTx;

/// Whether a row has requirements. The text is that of the index `versions_requiring`; otherwise it is not used.
pub(in crate::store) const HAS_REQUIREMENTS: &str = "versions.requires <> '[]'";
/// Whether a row is the active version of its policy.
const IS_ACTIVE: &str = "versions.number = (SELECT p.active_version FROM policies p WHERE p.namespace = versions.namespace \
     AND p.id = versions.policy)";

impl WriteTx {
    /// Returns the active versions of the namespace that require anything of one of these policies. Makes no query when no version of the
    /// namespace had requirements as this write began.
    pub async fn active_requiring(&self, policies: &[&PolicyId]) -> Result<Vec<Version>> {
        if !self.has_requirements() {
            return Ok(Vec::new());
        }
        // Not LIKE: SQLite prepares the statement again for each new pattern, because its plan may depend on it.
        let position = if self.store.is_postgres() { "strpos" } else { "instr" };
        // In the JSON of the column an id is in quotes and contains none, so no other id matches. A key may: a policy named "policy" finds
        // every version with requirements. That does no harm, because the decision compares ids.
        let names = |policy: &&PolicyId| {
            Func::cust(position).args([Expr::col(Column::Requires), Expr::val(format!("\"{policy}\""))]).gt(0)
        };
        let any = policies.iter().map(names).fold(Condition::any(), Condition::add);
        let query = Entity::find()
            .filter(Column::Namespace.eq(self.namespace().as_str()))
            .filter(Expr::cust(HAS_REQUIREMENTS))
            .filter(Expr::cust(IS_ACTIVE))
            .filter(any);
        self.read().versions_of(query).await
    }
}
