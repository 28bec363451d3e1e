//! Queries of active versions by what they require of other policies.

use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{ColumnTrait as _, Condition, ConnectionTrait as _, DbBackend, EntityTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::name::PolicyId;
use crate::domain::version::Version;
use crate::store::entity::versions::{Column, Entity};
use crate::store::transaction::views::WriteTx;

/// Whether a row has requirements. The text is that of the partial index, so that both databases use it.
const HAS_REQUIREMENTS: &str = "versions.requires <> '[]'";
/// Whether a row is the active version of its policy.
const IS_ACTIVE: &str = "versions.number = (SELECT p.active_version FROM policies p WHERE p.namespace = versions.namespace \
     AND p.id = versions.policy)";

impl WriteTx {
    /// Returns the active versions of the namespace that require anything of one of these policies, in one query. None is made when this
    /// write found no version with requirements.
    pub async fn active_requiring(&self, policies: &[&PolicyId]) -> Result<Vec<Version>> {
        if !self.has_requirements() {
            return Ok(Vec::new());
        }
        // Not by LIKE: SQLite prepares such a statement again whenever its pattern is another one.
        let position = match self.tx().get_database_backend() {
            DbBackend::Postgres => "strpos",
            _ => "instr",
        };
        // Ids stand in quotes in the JSON of the column, and have none.
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
