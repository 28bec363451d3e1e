//! Queries of validation reports: the newest of each version.

use std::collections::BTreeMap;

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::report::Report;
use crate::domain::{Error, Reason, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::reports::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

impl ReadTx {
    /// Returns the newest report of a version.
    ///
    /// # Errors
    /// `REPORT_NOT_FOUND` when its checks never ran.
    pub async fn report(&self, policy: &PolicyName, number: i64) -> Result<Report> {
        let key = (policy.namespace.to_string(), policy.policy.to_string(), number);
        let row = Entity::find_by_id(key).one(&self.tx).await.map_err(failed)?.ok_or_else(|| {
            let name = policy.version(number);
            Error::new(Reason::ReportNotFound, format!("{name} has no report; stage it first")).about(name)
        })?;
        let Authenticated(row) = self.authenticated::<Entity>(row)?;
        rows::json("report", &row.body)
    }
}

impl ReadTx {
    /// Returns the newest reports of some versions of a namespace, by policy and number. Versions that were never checked are left out.
    pub async fn reports_named(
        &self,
        namespace: &NamespaceId,
        versions: &[(&PolicyId, i64)],
    ) -> Result<BTreeMap<(PolicyId, i64), Report>> {
        let key = Expr::tuple([Expr::col(Column::Policy), Expr::col(Column::Number)]);
        // SQLite uses no index for the pairs alone; the list of policies lets it use one.
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Policy.is_in(versions.iter().map(|(policy, _)| policy.as_str())))
            .filter(key.in_tuples(versions.iter().map(|(policy, number)| (policy.as_str(), *number))));
        let mut found = BTreeMap::new();
        for row in query.all(&self.tx).await.map_err(failed)? {
            let Authenticated(row) = self.authenticated::<Entity>(row)?;
            let policy = rows::policy_name(namespace.as_str(), &row.policy)?.policy;
            found.insert((policy, row.number), rows::json("report", &row.body)?);
        }
        Ok(found)
    }
}

impl WriteTx {
    /// Writes a report. It replaces the one before.
    pub async fn put_report(&self, policy: &PolicyName, number: i64, report: &Report) -> Result<()> {
        let row = Model {
            namespace: policy.namespace.to_string(),
            policy: policy.policy.to_string(),
            number,
            body: rows::to_json(report)?,
            tag: Vec::new(),
        };
        self.put_row::<Entity>(row).await
    }
}
