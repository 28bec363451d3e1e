//! Queries of runs: each is recorded once and ended once, without the lock of a namespace.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, IntoActiveModel as _, QueryFilter as _, QueryOrder as _,
    SqliteTransactionMode, TransactionOptions, sea_query::OnConflict,
};

use crate::domain::name::NamespaceId;
use crate::domain::run::{Run, RunEnd, RunId, RunOutcome};
use crate::domain::{Error, Result};
use crate::store::authenticated::{Authenticated, with_mac};
use crate::store::entity::runs::{ActiveModel, Column, Entity};
use crate::store::entity::{namespaces, run_ends, run_policies};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::idempotency::{IdempotencyKey, KeptAnswer, keep};
use crate::store::tables::run_rows;
use crate::store::tables::subscribers::ROWS_PER_STATEMENT;
use crate::store::transaction::views::{ReadTx, Tx};

fn key(namespace: &NamespaceId, id: &RunId) -> (String, String) {
    (namespace.to_string(), id.as_str().to_owned())
}

impl ReadTx {
    /// Returns a run with its first policy, if it was recorded.
    pub async fn run_summary(&self, namespace: &NamespaceId, id: &RunId) -> Result<Option<Run>> {
        let row = Entity::find_by_id(key(namespace, id)).one(&self.tx).await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let end = run_ends::Entity::find_by_id(key(namespace, id)).one(&self.tx).await.map_err(failed)?;
        let end = end.map(|row| self.authenticated::<run_ends::Entity>(row)).transpose()?;
        run_rows::summary(&self.authenticated::<Entity>(row)?, end).map(Some)
    }

    /// Returns a run with all of its policies, if it was recorded.
    pub async fn run(&self, namespace: &NamespaceId, id: &RunId) -> Result<Option<Run>> {
        use run_policies::Column as P;
        let Some(run) = self.run_summary(namespace, id).await? else { return Ok(None) };
        let rows = run_policies::Entity::find()
            .filter(P::Namespace.eq(namespace.as_str()))
            .filter(P::Id.eq(id.as_str()))
            .order_by_asc(P::Policy);
        let rows = rows.all(&self.tx).await.map_err(failed)?;
        let rows: Vec<Authenticated<run_policies::Model>> =
            rows.into_iter().map(|row| self.authenticated::<run_policies::Entity>(row)).collect::<Result<_>>()?;
        run_rows::whole(run, &rows).map(Some)
    }
}

impl Store {
    /// Opens a write of runs. It belongs to no namespace's log and takes no lock. It is refused while data loss is suspected.
    async fn begin_run(&self, namespace: &NamespaceId) -> Result<Tx> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.inner.suspected_loss.check()?;
        let tx = self.writer()?.begin(options).await.map_err(failed)?;
        self.inner.suspected_loss.check()?;
        self.writable_row(&tx, namespaces::Entity::find_by_id(namespace.as_str())).await?;
        Ok(tx)
    }

    /// Adds a run with its policies and stores the answer with it. Returns false, and does nothing, when the run's id is taken.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when the same request is running, `OUTCOME_UNKNOWN`, `STORE_IN_DOUBT`.
    pub async fn insert_run(&self, run: &Run, kept: Option<(&IdempotencyKey, KeptAnswer)>) -> Result<bool> {
        let first = run.policies.first().ok_or_else(|| Error::internal("a run without a policy"))?;
        let tx = self.begin_run(&run.namespace).await?;
        let taken = OnConflict::columns([Column::Namespace, Column::Id]).do_nothing().to_owned();
        let macs = self.macs();
        let row = with_mac::<Entity>(macs.as_ref(), run_rows::run_row(run, first))?;
        let insert = Entity::insert(row.into_active_model()).on_conflict(taken);
        if insert.exec_without_returning(&tx).await.map_err(failed)? == 0 {
            return Ok(false);
        }
        for chunk in run_rows::policy_rows(run).chunks(ROWS_PER_STATEMENT) {
            let rows = chunk.iter().map(|row| {
                let row = with_mac::<run_policies::Entity>(macs.as_ref(), row.clone())?;
                Ok(row.into_active_model())
            });
            let rows = rows.collect::<Result<Vec<_>>>()?;
            run_policies::Entity::insert_many(rows).exec_without_returning(&tx).await.map_err(failed)?;
        }
        if let Some((key, kept)) = kept {
            keep(&tx, macs.as_ref(), key, kept, run.create_time).await?;
        }
        let written = Entity::find_by_id(key(&run.namespace, &run.id));
        self.commit(tx, self.clone().confirm(written, |_| Ok(true)), || ()).await?;
        Ok(true)
    }

    /// Ends an open run and stores the answer with it. Returns false, and does nothing, when the run is not open or does not exist.
    ///
    /// # Errors
    /// The same as `insert_run`.
    pub async fn end_run(&self, run: &Run, end: &RunEnd, kept: Option<(&IdempotencyKey, KeptAnswer)>) -> Result<bool> {
        use run_policies::Column as P;
        let (namespace, id) = (run.namespace.as_str(), run.id.as_str());
        let tx = self.begin_run(&run.namespace).await?;
        let outcome = end.outcome.as_str().to_owned();
        // Do this first: another writer that ends the same run waits here, and then finds that it is not open.
        let ended = Entity::update_many()
            .set(ActiveModel { outcome: Set(outcome.clone()), ..Default::default() })
            .filter(Column::Namespace.eq(namespace))
            .filter(Column::Id.eq(id))
            .filter(Column::Outcome.eq(RunOutcome::Open.as_str()));
        if ended.exec(&tx).await.map_err(failed)?.rows_affected == 0 {
            return Ok(false);
        }
        let policies = run_policies::Entity::update_many()
            .set(run_policies::ActiveModel { outcome: Set(outcome), ..Default::default() })
            .filter(P::Namespace.eq(namespace))
            .filter(P::Id.eq(id));
        policies.exec(&tx).await.map_err(failed)?;
        let macs = self.macs();
        let row = with_mac::<run_ends::Entity>(macs.as_ref(), run_rows::end_row(run, end))?;
        run_ends::Entity::insert(row.into_active_model()).exec_without_returning(&tx).await.map_err(failed)?;
        if let Some((key, kept)) = kept {
            keep(&tx, macs.as_ref(), key, kept, end.complete_time).await?;
        }
        let written = run_ends::Entity::find_by_id(key(&run.namespace, &run.id));
        self.commit(tx, self.clone().confirm(written, |_| Ok(true)), || ()).await?;
        Ok(true)
    }
}
