//! Idempotency: a request has one effect per (principal, method, request id), for 7 days (docs/guarantees.md#g7).

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ColumnTrait as _, ConnectionTrait, EntityTrait as _, IntoActiveModel as _, QueryFilter as _};

use crate::domain::limits::IDEMPOTENCY_TTL_SECONDS;
use crate::domain::row_mac::RowMac;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::authenticated::{Authenticated, with_mac};
use crate::store::entity::idempotency::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// The key of a request: its principal, method and request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The principal who asked.
    pub principal: String,
    /// The RPC's name.
    pub method: &'static str,
    /// The caller's id of the request.
    pub request_id: String,
}

/// The answer to a request, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Digest of the request.
    pub fingerprint: String,
    /// The answer, as JSON.
    pub answer: String,
}

impl ReadTx {
    /// Returns the stored answer to a request, unless it has expired.
    pub async fn kept_answer(&self, key: &IdempotencyKey, now: Micros) -> Result<Option<KeptAnswer>> {
        let id = (key.principal.clone(), key.method.to_owned(), key.request_id.clone());
        let row = Entity::find_by_id(id).filter(Column::ExpireTime.gt(now.0)).one(&self.tx).await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let Authenticated(row) = self.authenticated::<Entity>(row)?;
        Ok(Some(KeptAnswer { fingerprint: row.fingerprint, answer: row.answer }))
    }
}

impl WriteTx {
    /// Stores an answer. When two namespaces store one under the same key at the same time, the second fails with `CONCURRENT_CHANGE`.
    pub async fn keep_answer(&self, key: &IdempotencyKey, kept: KeptAnswer, now: Micros) -> Result<()> {
        keep(self.tx(), self.macs(), key, kept, now).await
    }
}

/// Stores an answer in the transaction that did the work.
pub(in crate::store) async fn keep(
    tx: &impl ConnectionTrait,
    macs: &dyn RowMac,
    key: &IdempotencyKey,
    kept: KeptAnswer,
    now: Micros,
) -> Result<()> {
    let row = Model {
        principal: key.principal.clone(),
        method: key.method.to_owned(),
        request_id: key.request_id.clone(),
        fingerprint: kept.fingerprint,
        answer: kept.answer,
        expire_time: now.0 + IDEMPOTENCY_TTL_SECONDS * 1_000_000,
        tag: Vec::new(),
    };
    let row = with_mac::<Entity>(macs, row)?.into_active_model();
    let replace_expired = OnConflict::columns([Column::Principal, Column::Method, Column::RequestId])
        .update_columns([Column::Fingerprint, Column::Answer, Column::ExpireTime, Column::Tag])
        .action_and_where(Expr::col((Entity, Column::ExpireTime)).lte(now.0))
        .to_owned();
    let insert = Entity::insert(row).on_conflict(replace_expired);
    match insert.exec_without_returning(tx).await.map_err(failed)? {
        0 => Err(Error::new(Reason::ConcurrentChange, "the same request is running; try again")),
        _ => Ok(()),
    }
}

impl Store {
    /// Deletes answers that have expired.
    pub async fn forget_answers(&self, now: Micros) -> Result<u64> {
        let done = Entity::delete_many().filter(Column::ExpireTime.lte(now.0)).exec(&self.writer()?).await;
        Ok(done.map_err(failed)?.rows_affected)
    }
}
