//! Queries of the rows of signing keys. They repeat what the log of `system` states, for operators who read the database.
//!
//! No decision uses such a row: the log is read instead, and a row that differs from it is reported.

use sea_orm::{EntityTrait as _, QueryOrder as _};

use crate::domain::Result;
use crate::domain::key::KeyRecord;
use crate::domain::time::Micros;
use crate::store::entity::signing_keys::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

impl ReadTx {
    /// Returns every row, in order of ids.
    ///
    /// # Errors
    /// `DATA_LOSS` for a row that can't be read.
    pub async fn signing_keys(&self) -> Result<Vec<KeyRecord>> {
        let rows = Entity::find().order_by_asc(Column::KeyId).all(&self.tx).await.map_err(failed)?;
        rows.into_iter().map(record).collect()
    }
}

impl WriteTx {
    /// Writes the current state of a key.
    pub async fn put_signing_key(&self, key: &KeyRecord) -> Result<()> {
        let micros = |time: Option<Micros>| time.map(|time| time.0);
        let row = Model {
            key_id: key.key_id.clone(),
            algorithm: key.algorithm.clone(),
            jwk: key.jwk.clone(),
            state: key.state.as_str().to_owned(),
            prepare_time: key.prepare_time.0,
            activate_time: micros(key.activate_time),
            retire_time: micros(key.retire_time),
            revoke_time: micros(key.revoke_time),
            revision: key.revision,
            tag: Vec::new(),
        };
        self.put_row::<Entity>(row).await
    }
}

fn record(row: Model) -> Result<KeyRecord> {
    Ok(KeyRecord {
        state: rows::parse_enum("state of a key", &row.state)?,
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
