//! Rows of the signing keys: what the log of `system` says of them, for those who look into the database.
//!
//! Nobody obeys a row: the log is read instead, and a row that differs from it is an alarm.

use sea_orm::{ActiveValue::Set, EntityTrait as _, QueryOrder as _, sea_query::OnConflict};

use super::connect::Store;
use super::entity::signing_keys::{ActiveModel, Column, Entity, Model};
use super::error::failed;
use super::rows;
use super::transaction::{ReadTx, WriteTx};
use crate::domain::Result;
use crate::domain::key::KeyRecord;
use crate::domain::time::Micros;

/// Where stores made by earlier versions keep the id of their one signing key.
const PINNED_KEY: &str = "signing key";

impl Store {
    /// The one signing key of a store that an earlier version made.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn pinned_signing_key(&self) -> Result<Option<String>> {
        self.meta(PINNED_KEY).await
    }
}

impl ReadTx {
    /// Every row, in the order of the ids.
    ///
    /// # Errors
    /// `DATA_LOSS` for one that can't be read.
    pub async fn signing_keys(&self) -> Result<Vec<KeyRecord>> {
        let rows = Entity::find().order_by_asc(Column::KeyId).all(&self.tx).await.map_err(failed)?;
        rows.into_iter().map(record).collect()
    }
}

impl WriteTx {
    /// Writes a key as it is now.
    pub async fn put_signing_key(&self, key: &KeyRecord) -> Result<()> {
        let micros = |time: Option<Micros>| time.map(|time| time.0);
        let row = ActiveModel {
            key_id: Set(key.key_id.clone()),
            algorithm: Set(key.algorithm.clone()),
            jwk: Set(key.jwk.clone()),
            state: Set(key.state.as_str().to_owned()),
            prepare_time: Set(key.prepare_time.0),
            activate_time: Set(micros(key.activate_time)),
            retire_time: Set(micros(key.retire_time)),
            revoke_time: Set(micros(key.revoke_time)),
            revision: Set(key.revision),
        };
        let columns = [
            Column::Algorithm,
            Column::Jwk,
            Column::State,
            Column::PrepareTime,
            Column::ActivateTime,
            Column::RetireTime,
            Column::RevokeTime,
            Column::Revision,
        ];
        let replace = OnConflict::column(Column::KeyId).update_columns(columns).to_owned();
        Entity::insert(row).on_conflict(replace).exec_without_returning(self.tx()).await.map_err(failed)?;
        Ok(())
    }
}

fn record(row: Model) -> Result<KeyRecord> {
    Ok(KeyRecord {
        state: rows::word("state of a key", &row.state)?,
        key_id: row.key_id,
        algorithm: row.algorithm,
        jwk: row.jwk,
        prepare_time: Micros(row.prepare_time),
        activate_time: row.activate_time.map(Micros),
        retire_time: row.retire_time.map(Micros),
        revoke_time: row.revoke_time.map(Micros),
        revision: row.revision,
    })
}
