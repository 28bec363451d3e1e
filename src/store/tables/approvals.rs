//! Queries of the table `approvals`. Each row is read with the event that must prove it, because a row alone proves nothing.

use std::collections::BTreeMap;

use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

use crate::domain::approval::Approval;
use crate::domain::digest::Digest;
use crate::domain::event::Event;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::approvals::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// An approval as its row states it. Nothing in it is verified yet.
#[derive(Debug, Clone)]
pub struct ApprovalRow {
    /// The policy.
    pub policy: PolicyName,
    /// The version's number.
    pub version: i64,
    /// The principal who approved.
    pub approver: String,
    /// The digest that was reviewed.
    pub digest: Digest,
    /// The approver's reason.
    pub reason: String,
    /// Time at which it was given.
    pub create_time: Micros,
    /// Time from which it no longer counts.
    pub expire_time: Micros,
    /// The event that the row names.
    pub event: Event,
}

impl ReadTx {
    /// Returns every approval of some versions of a namespace, in order of policy, version and approver.
    ///
    /// # Errors
    /// `DATA_LOSS` when a row names no event.
    pub async fn approvals(&self, namespace: &NamespaceId, versions: &[(&PolicyId, i64)]) -> Result<Vec<ApprovalRow>> {
        let key = Expr::tuple([Expr::col(Column::Policy), Expr::col(Column::Number)]);
        // SQLite uses no index for the pairs alone; the list of policies lets it use one.
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Policy.is_in(versions.iter().map(|(policy, _)| policy.as_str())))
            .filter(key.in_tuples(versions.iter().map(|(policy, number)| (policy.as_str(), *number))))
            .order_by_asc(Column::Policy)
            .order_by_asc(Column::Number)
            .order_by_asc(Column::Approver);
        let found = query.all(&self.tx).await.map_err(failed)?;
        let revisions: Vec<i64> = found.iter().map(|row| row.revision).collect();
        let events: BTreeMap<i64, Event> = self.events_at(namespace, &revisions).await?;
        let proven_by = |row: Model| {
            let event = events.get(&row.revision).cloned().ok_or_else(|| {
                let name = format!("{namespace}/{}@{}", row.policy, row.number);
                Error::data_loss(format!("{name}: an approval names event {}, which is not there", row.revision))
            })?;
            approval(self.authenticated::<Entity>(row)?, event)
        };
        found.into_iter().map(proven_by).collect()
    }
}

impl WriteTx {
    /// Writes an approval. It replaces an earlier one of the same approver.
    pub async fn put_approval(&self, policy: &PolicyName, version: i64, approval: &Approval) -> Result<()> {
        let row = Model {
            namespace: policy.namespace.to_string(),
            policy: policy.policy.to_string(),
            number: version,
            approver: approval.approver.clone(),
            digest: approval.digest.to_string(),
            reason: approval.reason.clone(),
            create_time: approval.create_time.0,
            expire_time: approval.expire_time.0,
            revision: approval.revision,
            tag: Vec::new(),
        };
        self.put_row::<Entity>(row).await
    }
}

fn approval(Authenticated(row): Authenticated<Model>, event: Event) -> Result<ApprovalRow> {
    Ok(ApprovalRow {
        policy: rows::policy_name(&row.namespace, &row.policy)?,
        version: row.number,
        approver: row.approver,
        digest: Digest::parse("digest", &row.digest).map_err(rows::unreadable("digest"))?,
        reason: row.reason,
        create_time: Micros(row.create_time),
        expire_time: Micros(row.expire_time),
        event,
    })
}
