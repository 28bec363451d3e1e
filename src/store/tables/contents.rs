//! Queries of contents by digest: equal bytes are stored once.

use bytes::Bytes;
use sea_orm::{ActiveValue::Set, EntityTrait as _, sea_query::OnConflict};

use crate::domain::digest::Digest;
use crate::domain::{Error, Result};
use crate::store::entity::contents::{ActiveModel, Column, Entity};
use crate::store::error::failed;
use crate::store::transaction::views::{ReadTx, WriteTx};

impl ReadTx {
    /// Returns the bytes of a digest. The caller checks that they have it.
    ///
    /// # Errors
    /// `DATA_LOSS` when a version has no content.
    pub async fn content(&self, digest: &Digest) -> Result<Bytes> {
        let row = Entity::find_by_id(digest.as_str()).one(&self.tx).await.map_err(failed)?;
        row.map(|row| Bytes::from(row.bytes)).ok_or_else(|| Error::data_loss(format!("no content for {digest}")))
    }
}

impl WriteTx {
    /// Stores bytes under their digest.
    pub async fn insert_content(&self, digest: &Digest, content: &Bytes) -> Result<()> {
        let row = ActiveModel { digest: Set(digest.to_string()), bytes: Set(content.to_vec()) };
        Entity::insert(row)
            .on_conflict(OnConflict::column(Column::Digest).do_nothing().to_owned())
            .exec_without_returning(self.tx())
            .await
            .map_err(failed)?;
        Ok(())
    }
}
