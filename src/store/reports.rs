//! Validation reports: the newest of each version.

use sea_orm::{ActiveValue::Set, EntityTrait as _, sea_query::OnConflict};

use super::entity::reports::{ActiveModel, Column, Entity};
use super::error::failed;
use super::rows;
use super::transaction::{ReadTx, WriteTx};
use crate::domain::name::PolicyName;
use crate::domain::report::Report;
use crate::domain::{Error, Reason, Result};

impl ReadTx {
    /// The newest report of a version.
    ///
    /// # Errors
    /// `REPORT_NOT_FOUND` when its checks never ran.
    pub async fn report(&self, policy: &PolicyName, number: i64) -> Result<Report> {
        let key = (policy.namespace.to_string(), policy.policy.to_string(), number);
        let row = Entity::find_by_id(key).one(&self.tx).await.map_err(failed)?.ok_or_else(|| {
            let name = policy.version(number);
            Error::new(Reason::ReportNotFound, format!("{name} has no report; stage it first")).about(name)
        })?;
        rows::json("report", &row.body)
    }
}

impl WriteTx {
    /// Keeps a report in place of the one before.
    pub async fn put_report(&self, policy: &PolicyName, number: i64, report: &Report) -> Result<()> {
        let row = ActiveModel {
            namespace: Set(policy.namespace.to_string()),
            policy: Set(policy.policy.to_string()),
            number: Set(number),
            body: Set(rows::to_json(report)?),
        };
        let replace = OnConflict::columns([Column::Namespace, Column::Policy, Column::Number])
            .update_column(Column::Body)
            .to_owned();
        Entity::insert(row).on_conflict(replace).exec_without_returning(self.tx()).await.map_err(failed)?;
        Ok(())
    }
}
