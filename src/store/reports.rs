//! Validation reports: the newest of each version.

use sea_orm::EntityTrait as _;

use super::entity::reports::{Entity, Model};
use super::error::failed;
use super::rows;
use super::tagged::Proven;
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
        let Proven(row) = self.proven::<Entity>(row)?;
        rows::json("report", &row.body)
    }
}

impl WriteTx {
    /// Keeps a report in place of the one before.
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
