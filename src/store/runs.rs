//! Runs: recorded once, outside of every namespace's lock.

use sea_orm::{
    EntityTrait as _, IntoActiveModel as _, SqliteTransactionMode, TransactionOptions, sea_query::OnConflict,
};

use super::connect::Store;
use super::entity::namespaces;
use super::entity::runs::{Column, Entity};
use super::error::failed;
use super::idempotency::{IdempotencyKey, KeptAnswer, keep};
use super::rows;
use super::tagged::tagged;
use super::transaction::ReadTx;
use crate::domain::Result;
use crate::domain::name::NamespaceId;
use crate::domain::run::{Run, RunId};

impl ReadTx {
    /// A run, if it was recorded.
    pub async fn run(&self, namespace: &NamespaceId, id: &RunId) -> Result<Option<Run>> {
        let key = (namespace.to_string(), id.as_str().to_owned());
        let row = Entity::find_by_id(key).one(&self.tx).await.map_err(failed)?;
        row.map(|row| rows::run(self.proven::<Entity>(row)?)).transpose()
    }
}

impl Store {
    /// Adds a run unless its id is taken, and keeps the answer with it. False: it is taken, and nothing was done.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when the same request is running, `OUTCOME_UNKNOWN`, `STORE_IN_DOUBT`.
    pub async fn insert_run(&self, run: &Run, kept: Option<(&IdempotencyKey, KeptAnswer)>) -> Result<bool> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        // A write of no namespace's log: it takes no lock. What it refers to must be beyond doubt all the same.
        self.inner.doubt.check()?;
        let tx = self.writer()?.begin(options).await.map_err(failed)?;
        self.inner.doubt.check()?;
        let namespace = namespaces::Entity::find_by_id(run.policy.namespace.as_str());
        self.writable_row(&tx, namespace).await?;
        let taken = OnConflict::columns([Column::Namespace, Column::Id]).do_nothing().to_owned();
        let tags = self.tags();
        let row = tagged::<Entity>(tags.as_ref(), rows::run_row(run))?;
        let insert = Entity::insert(row.into_active_model()).on_conflict(taken);
        if insert.exec_without_returning(&tx).await.map_err(failed)? == 0 {
            return Ok(false);
        }
        if let Some((key, kept)) = kept {
            keep(&tx, tags.as_ref(), key, kept, run.create_time).await?;
        }
        let written = Entity::find_by_id((run.policy.namespace.to_string(), run.id.as_str().to_owned()));
        self.commit(tx, self.clone().confirm(written, |_| Ok(true)), || ()).await?;
        Ok(true)
    }
}
