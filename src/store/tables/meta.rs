//! Queries of the store's identity: its id, and the keys with which it was created.

use sea_orm::{ActiveValue::Set, EntityTrait as _, IntoActiveModel as _, sea_query::OnConflict};

use crate::domain::Result;
use crate::domain::name::SYSTEM_NAMESPACE;
use crate::domain::quota::Quotas;
use crate::domain::time::Micros;
use crate::store::authenticated::with_mac;
use crate::store::connection::own_store::STORE_ID;
use crate::store::entity::{namespaces, store_meta};
use crate::store::error::{StoreError, failed};
use crate::store::handle::Store;
use crate::store::tables::rows;

/// The epoch of a new store.
const FIRST_EPOCH: i64 = 1;

impl Store {
    /// Writes `value` under `name` unless there is one, and returns the stored value. Several processes may call it at once. An existing
    /// value is read without a write, so that a server starts on a read-only database.
    pub(in crate::store) async fn keep(&self, name: &str, value: &str) -> Result<String> {
        if let Some(kept) = self.meta(name).await? {
            return Ok(kept);
        }
        let row = store_meta::ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()) };
        store_meta::Entity::insert(row)
            .on_conflict(OnConflict::column(store_meta::Column::Name).do_nothing().to_owned())
            .exec_without_returning(&self.writer()?)
            .await
            .map_err(failed)?;
        let kept = store_meta::Entity::find_by_id(name).one(&self.writer()?).await.map_err(failed)?;
        Ok(kept.map(|row| row.value).unwrap_or_default())
    }

    /// Returns the value stored under `name`.
    pub(in crate::store) async fn meta(&self, name: &str) -> Result<Option<String>> {
        let kept = store_meta::Entity::find_by_id(name).one(&self.reader_in_outage()).await.map_err(failed)?;
        Ok(kept.map(|row| row.value))
    }

    /// Replaces the value stored under `name`.
    pub(in crate::store) async fn replace_meta(&self, name: &str, value: &str) -> Result<()> {
        let row = store_meta::ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()) };
        let replace = OnConflict::column(store_meta::Column::Name).update_column(store_meta::Column::Value).to_owned();
        let insert = store_meta::Entity::insert(row).on_conflict(replace);
        insert.exec_without_returning(&self.writer()?).await.map_err(failed)?;
        Ok(())
    }

    /// Returns the id of this store. A new store gets `new_id`, and the namespace `system`.
    ///
    /// # Errors
    /// `StoreError` when the database fails.
    pub async fn identity(&self, new_id: &str, now: Micros) -> Result<String, StoreError> {
        let id = self.keep(STORE_ID, new_id).await?;
        self.insert_namespace_row(SYSTEM_NAMESPACE, "changes that belong to no tenant", now).await?;
        Ok(id)
    }

    /// Records a key with which the store was created, and refuses a server that has another one.
    ///
    /// # Errors
    /// `Foreign` when the store has another key on record.
    pub async fn pin_key(&self, what: &'static str, key_id: &str) -> Result<(), StoreError> {
        let found = self.keep(what, key_id).await?;
        if found == key_id { Ok(()) } else { Err(StoreError::Foreign { what, found, given: key_id.to_owned() }) }
    }

    async fn insert_namespace_row(&self, id: &str, description: &str, now: Micros) -> Result<()> {
        if namespaces::Entity::find_by_id(id).one(&self.reader()?).await.map_err(failed)?.is_some() {
            return Ok(());
        }
        let settings = rows::settings(Quotas::default())?;
        let row = namespace_row(id, description, settings, FIRST_EPOCH, now);
        let row = with_mac::<namespaces::Entity>(self.macs().as_ref(), row)?;
        namespaces::Entity::insert(row.into_active_model())
            .on_conflict(OnConflict::column(namespaces::Column::Id).do_nothing().to_owned())
            .exec_without_returning(&self.writer()?)
            .await
            .map_err(failed)?;
        Ok(())
    }
}

/// Builds the row of a namespace with an empty log that begins in an epoch.
pub(in crate::store) fn namespace_row(
    id: &str,
    description: &str,
    settings: String,
    epoch: i64,
    now: Micros,
) -> namespaces::Model {
    namespaces::Model {
        id: id.to_owned(),
        description: description.to_owned(),
        settings,
        epoch,
        head_revision: 0,
        head_hash: vec![0; 32],
        access_revision: 0,
        policies: 0,
        versions: 0,
        content_bytes: 0,
        etag: 1,
        create_time: now.0,
        importing: 0,
        tag: Vec::new(),
    }
}
