//! Rows with a MAC (message authentication code): data that no signature covers is authenticated before it is used (ADR 0023).
//!
//! Such a table has a column `tag {blob} NOT NULL` and an `impl AuthenticatedTable` beside its entity. Rows of a namespace's state are
//! written only by `WriteTx::insert_row`, `put_row`, `change_row` and `delete_row`, before the event of the write, which names each with
//! its digest. Rows are read through `authenticate`; the readers of `rows.rs` accept nothing else.

use sea_orm::{EntityTrait, IdenStatic as _, Iterable as _, ModelTrait as _, PrimaryKeyToColumn as _, Value};

use crate::domain::event::RowChange;
use crate::domain::row::{Cell, RowBytes};
use crate::domain::row_mac::RowMac;
use crate::domain::{Error, Result};

/// A table whose rows carry a MAC.
pub(super) trait AuthenticatedTable: EntityTrait {
    /// The column of the MAC.
    const MAC: Self::Column;
    /// Columns that the MAC does not cover, because something else authenticates them.
    const UNAUTHENTICATED: &'static [Self::Column] = &[];

    /// Returns the table name that the MACs cover: for rows that a migration copied, the name of their first table.
    fn mac_table_name() -> String {
        table::<Self>()
    }
}

/// A row whose MAC was verified.
#[derive(Debug)]
pub(super) struct Authenticated<M>(pub(super) M);

/// Verifies the MAC of a row.
///
/// # Errors
/// `DATA_LOSS` when another party wrote it, or it is the row of another key.
pub(super) fn authenticate<E: AuthenticatedTable>(macs: &dyn RowMac, row: E::Model) -> Result<Authenticated<E::Model>> {
    match row.get(E::MAC) {
        Value::Bytes(Some(tag)) if macs.verify(&mac_input::<E>(&row)?, &tag) => Ok(Authenticated(row)),
        _ => Err(Error::data_loss(format!("{} {}: its tag does not hold", table::<E>(), key::<E>(&row, true)))),
    }
}

/// Returns the row with its MAC.
pub(super) fn with_mac<E: AuthenticatedTable>(macs: &dyn RowMac, mut row: E::Model) -> Result<E::Model> {
    let tag = macs.mac(&mac_input::<E>(&row)?).to_vec();
    row.try_set(E::MAC, Value::Bytes(Some(tag))).map_err(|error| Error::internal(error.to_string()))?;
    Ok(row)
}

/// Returns the entry for a row in an event.
pub(super) fn row_change<E: AuthenticatedTable>(macs: &dyn RowMac, row: &E::Model) -> Result<RowChange> {
    let digest = Some(macs.digest(&mac_input::<E>(row)?));
    Ok(RowChange { table: table::<E>(), key: key::<E>(row, false), digest })
}

pub(super) fn table<E: EntityTrait>() -> String {
    E::default().table_name().to_owned()
}

/// Returns the primary key as text, with slashes between its parts; in the log of a namespace without that namespace.
fn key<E: EntityTrait>(row: &E::Model, with_namespace: bool) -> String {
    let columns = E::PrimaryKey::iter().map(|part| part.into_column());
    let parts = columns.filter(|column| with_namespace || column.as_str() != "namespace");
    let parts = parts.map(|column| match row.get(column) {
        Value::String(text) => text.unwrap_or_default(),
        Value::BigInt(number) => number.unwrap_or_default().to_string(),
        other => format!("{other:?}"),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn is_free<E: AuthenticatedTable>(column: E::Column) -> bool {
    E::UNAUTHENTICATED.iter().chain([&E::MAC]).any(|free| free.as_str() == column.as_str())
}

/// Returns the bytes that a MAC covers. A NULL column is left out, so that a column added by a later schema changes no MAC.
pub(super) fn mac_input<E: AuthenticatedTable>(row: &E::Model) -> Result<Vec<u8>> {
    let mut bytes = RowBytes::of(&E::mac_table_name())?;
    for column in E::Column::iter().filter(|column| !is_free::<E>(*column)) {
        let cell = match row.get(column) {
            Value::Bool(Some(value)) => Cell::Bool(value),
            Value::BigInt(Some(value)) => Cell::Int(value),
            Value::String(Some(value)) => Cell::Text(value),
            Value::Bytes(Some(value)) => Cell::Bytes(value),
            Value::Bool(None) | Value::BigInt(None) | Value::String(None) | Value::Bytes(None) => continue,
            other => return Err(Error::internal(format!("a column of a type that the MAC does not cover: {other:?}"))),
        };
        bytes.add(column.as_str(), &cell)?;
    }
    Ok(bytes.end())
}
