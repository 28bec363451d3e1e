//! Writes rows that carry a MAC, and records each for the event of the write.

use sea_orm::sea_query::{IntoCondition, OnConflict};
use sea_orm::{
    ActiveModelBehavior as _, ActiveModelTrait, ColumnTrait as _, Condition, EntityTrait, IdenStatic as _,
    IntoActiveModel, Iterable as _, ModelTrait as _, PrimaryKeyToColumn as _, QueryFilter as _, QuerySelect as _,
};

use crate::domain::event::RowChange;
use crate::domain::{Error, Result};
use crate::store::authenticated::{Authenticated, AuthenticatedTable, row_change, table, with_mac};
use crate::store::error::failed;
use crate::store::transaction::views::{WriteTx, update_one};

impl WriteTx {
    /// Adds a row of the namespace's state.
    pub(in crate::store) async fn insert_row<E: AuthenticatedTable>(&self, row: E::Model) -> Result<()>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let row = with_mac::<E>(self.macs(), row)?;
        let named = row_change::<E>(self.macs(), &row)?;
        self.note_absent(&named);
        self.note(named);
        E::insert(row.into_active_model()).exec_without_returning(self.tx()).await.map_err(failed)?;
        Ok(())
    }

    /// Adds a row, or replaces the one with its key.
    pub(in crate::store) async fn put_row<E: AuthenticatedTable>(&self, row: E::Model) -> Result<()>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
    {
        let row = with_mac::<E>(self.macs(), row)?;
        let named = row_change::<E>(self.macs(), &row)?;
        self.note_absent(&named);
        self.note(named);
        let key: Vec<E::Column> = E::PrimaryKey::iter().map(|part| part.into_column()).collect();
        let is_key = |column: &E::Column| key.iter().any(|part| part.as_str() == column.as_str());
        let others = E::Column::iter().filter(|column| !is_key(column));
        let replace = OnConflict::columns(key.clone()).update_columns(others).to_owned();
        let insert = E::insert(row.into_active_model()).on_conflict(replace);
        insert.exec_without_returning(self.tx()).await.map_err(failed)?;
        Ok(())
    }

    /// Changes some columns of the row that `key` names: the row is read, locked, authenticated, changed, and written with its new MAC.
    pub(in crate::store) async fn change_row<E: AuthenticatedTable>(
        &self,
        key: impl IntoCondition,
        columns: &[E::Column],
        change: impl FnOnce(&mut E::Model),
    ) -> Result<()> {
        let row = E::find().filter(key.into_condition()).lock_exclusive().one(self.tx()).await.map_err(failed)?;
        let row = row.ok_or_else(|| Error::internal(format!("a row of {} to change is not there", table::<E>())))?;
        let Authenticated(mut row) = self.read().authenticated::<E>(row)?;
        change(&mut row);
        let row = with_mac::<E>(self.macs(), row)?;
        self.note(row_change::<E>(self.macs(), &row)?);
        let mut active = E::ActiveModel::new();
        for column in columns.iter().chain([&E::MAC]) {
            active.set(*column, row.get(*column));
        }
        update_one(self.tx(), active, is_row::<E>(&row)).await
    }

    /// Deletes a row, which must have been read before.
    pub(in crate::store) async fn delete_row<E: AuthenticatedTable>(&self, row: &E::Model) -> Result<()> {
        self.note(RowChange { digest: None, ..row_change::<E>(self.macs(), row)? });
        let done = E::delete_many().filter(is_row::<E>(row)).exec(self.tx()).await.map_err(failed)?;
        match done.rows_affected {
            1 => Ok(()),
            several => Err(Error::internal(format!("the removal of one row touched {several}"))),
        }
    }
}

/// Matches exactly this row, by its primary key.
fn is_row<E: EntityTrait>(row: &E::Model) -> Condition {
    let columns = E::PrimaryKey::iter().map(|part| part.into_column());
    columns.fold(Condition::all(), |all, column| all.add(column.eq(row.get(column))))
}
