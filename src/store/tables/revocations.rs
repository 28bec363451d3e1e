//! Queries of the table `revoked_tokens`: credentials that were revoked before they expired.
//!
//! They are counted and compared with the log, by which replicas go. A row is deleted when every credential that it revokes has expired.

use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, ExprTrait as _, PaginatorTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::revocation::Revocation;
use crate::domain::time::Micros;
use crate::store::entity::revoked_tokens::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::transaction::views::WriteTx;

/// `value` is a `jti`; `time` is when the row may be deleted.
const TOKEN: &str = "TOKEN";
/// `value` is an actor; credentials that were issued to it up to `time` are revoked.
const SUBJECT: &str = "SUBJECT";

impl WriteTx {
    /// Counts the revocations.
    pub async fn count_revocations(&self) -> Result<u64> {
        Entity::find().count(self.tx()).await.map_err(failed)
    }

    /// Records a revocation. The next event in the log of `system` names its row. A later time replaces an earlier one, never the reverse.
    pub async fn put_revocation(&self, revocation: &Revocation) -> Result<()> {
        let (kind, value, time) = match revocation {
            Revocation::Token { id, forget_time } => (TOKEN, id, forget_time),
            Revocation::Subject { actor, time } => (SUBJECT, actor, time),
        };
        let (kind, value, time) = (kind.to_owned(), value.clone(), time.0);
        let known = Entity::find_by_id((kind.clone(), value.clone())).one(self.tx()).await.map_err(failed)?;
        if known.is_some_and(|known| known.time >= time) {
            return Ok(());
        }
        let revision = self.head().next().revision;
        self.put_row::<Entity>(Model { kind, value, time, revision, tag: Vec::new() }).await
    }
}

impl Store {
    /// Deletes revocations of credentials that have expired.
    pub async fn forget_revocations(&self, now: Micros) -> Result<u64> {
        let kept_for = Revocation::forget_time_of(Micros(0)).0;
        let token = Column::Kind.eq(TOKEN).and(Column::Time.lte(now.0));
        let subject = Column::Kind.eq(SUBJECT).and(Column::Time.lte(now.0 - kept_for));
        let over = Condition::any().add(token).add(subject);
        let done = Entity::delete_many().filter(over).exec(&self.writer()?).await;
        Ok(done.map_err(failed)?.rows_affected)
    }
}
