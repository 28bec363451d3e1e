//! Epochs: the current ones of the logs, and the record of a bump of all of them (docs/guarantees.md#g1b).

use std::collections::BTreeMap;

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _};

use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::store::connection::system_identity::SYSTEM_IDENTITY;
use crate::store::entity::store_meta::{Column, Entity};
use crate::store::error::failed;
use crate::store::handle::Store;

/// The key in `store_meta` of the target of an unfinished bump, with the system identity on which it was begun.
const UNFINISHED: &str = "epoch_bump";

/// The epochs of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    /// The cursor of the last event of each log.
    pub heads: BTreeMap<NamespaceId, Cursor>,
    /// The highest epoch ever seen: of any log, or recorded on this machine.
    pub highest: i64,
    /// The system identity of PostgreSQL; empty on SQLite.
    pub system_identity: String,
    /// The target of a bump that was begun here and not finished, unless data was lost since.
    pub unfinished: Option<i64>,
}

impl Store {
    /// Returns the highest epoch recorded on this machine, 0 when there is none.
    #[must_use]
    pub fn remembered_epoch(&self) -> i64 {
        self.inner.high_water.highest_epoch()
    }

    /// Reads the epochs of all logs.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn epochs(&self) -> Result<Epochs> {
        let heads: BTreeMap<_, _> =
            self.all_heads().await?.into_iter().map(|(namespace, head)| (namespace, head.cursor)).collect();
        let highest = heads.values().map(|cursor| cursor.epoch).max().unwrap_or(0);
        let highest = highest.max(self.inner.high_water.highest_epoch());
        let system_identity = self.system_identity().await?.unwrap_or_default();
        let begun = self.meta(UNFINISHED).await?;
        let begun = begun.as_deref().and_then(|begun| begun.split_once(' ')).filter(|(_, on)| *on == system_identity);
        let unfinished = begun.and_then(|(target, _)| target.parse().ok()).filter(|target| {
            // Events of the target epoch itself may have been lost: their cursors must not be used again.
            let seen = self.inner.high_water.heads();
            seen.iter()
                .all(|(id, seen)| seen.cursor.epoch < *target || heads.get(id).is_some_and(|head| *head >= seen.cursor))
        });
        Ok(Epochs { heads, highest, system_identity, unfinished })
    }

    /// Records that every log is about to be raised to `target`.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn begin_bump(&self, target: i64, system_identity: &str) -> Result<()> {
        self.replace_meta(UNFINISHED, &format!("{target} {system_identity}")).await
    }

    /// Records that every log was raised, and that this system identity is the store's own.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn end_bump(&self, system_identity: &str) -> Result<()> {
        if !system_identity.is_empty() {
            self.replace_meta(SYSTEM_IDENTITY, system_identity).await?;
        }
        let done = Entity::delete_many().filter(Column::Name.eq(UNFINISHED)).exec(&self.writer()?).await;
        done.map(|_| ()).map_err(failed)
    }
}
