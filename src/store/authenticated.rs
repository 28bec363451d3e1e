//! Rows with a tag: what no signature covers is proven before it is used (ADR 0023).
//!
//! A table is one by its column `tag {blob} NOT NULL` and an `impl Tagged` beside its entity. Rows of the state of a
//! namespace are written by `WriteTx::insert_row`, `put_row`, `change_row` and `delete_row` alone, before the event of the
//! write: it names each with its digest. Rows are read through `prove`, and the readers of `rows.rs` take nothing else.

use sea_orm::{EntityTrait, IdenStatic as _, Iterable as _, ModelTrait as _, PrimaryKeyToColumn as _, Value};

use crate::domain::event::RowChange;
use crate::domain::row::{Cell, RowBytes};
use crate::domain::tag::RowTag;
use crate::domain::{Error, Result};

/// A table whose rows carry a tag.
pub(super) trait Tagged: EntityTrait {
    /// Where the tag is.
    const TAG: Self::Column;
    /// Columns that move without it, because something else proves them.
    const FREE: &'static [Self::Column] = &[];

    /// The table whose name is under its tags: of rows that a migration copied, the one they are from.
    fn tagged_as() -> String {
        table::<Self>()
    }
}

/// A row whose tag holds.
#[derive(Debug)]
pub(super) struct Proven<M>(pub(super) M);

/// Proves a row.
///
/// # Errors
/// `DATA_LOSS` when somebody else wrote it, or it is the row of another key.
pub(super) fn prove<E: Tagged>(tags: &dyn RowTag, row: E::Model) -> Result<Proven<E::Model>> {
    match row.get(E::TAG) {
        Value::Bytes(Some(tag)) if tags.holds(&bytes_of::<E>(&row)?, &tag) => Ok(Proven(row)),
        _ => Err(Error::data_loss(format!("{} {}: its tag does not hold", table::<E>(), key::<E>(&row, true)))),
    }
}

/// The row with its tag.
pub(super) fn tagged<E: Tagged>(tags: &dyn RowTag, mut row: E::Model) -> Result<E::Model> {
    let tag = tags.tag(&bytes_of::<E>(&row)?).to_vec();
    row.try_set(E::TAG, Value::Bytes(Some(tag))).map_err(|error| Error::internal(error.to_string()))?;
    Ok(row)
}

/// What an event says of a row.
pub(super) fn named<E: Tagged>(tags: &dyn RowTag, row: &E::Model) -> Result<RowChange> {
    let digest = Some(tags.digest(&bytes_of::<E>(row)?));
    Ok(RowChange { table: table::<E>(), key: key::<E>(row, false), digest })
}

pub(super) fn table<E: EntityTrait>() -> String {
    E::default().table_name().to_owned()
}

/// The primary key in words, parts between slashes; in the log of a namespace without that namespace.
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

fn is_free<E: Tagged>(column: E::Column) -> bool {
    E::FREE.iter().chain([&E::TAG]).any(|free| free.as_str() == column.as_str())
}

/// The bytes under a tag. A column that is NULL is left out: one that a later schema adds changes no tag.
pub(super) fn bytes_of<E: Tagged>(row: &E::Model) -> Result<Vec<u8>> {
    let mut bytes = RowBytes::of(&E::tagged_as())?;
    for column in E::Column::iter().filter(|column| !is_free::<E>(*column)) {
        let cell = match row.get(column) {
            Value::Bool(Some(value)) => Cell::Bool(value),
            Value::BigInt(Some(value)) => Cell::Int(value),
            Value::String(Some(value)) => Cell::Text(value),
            Value::Bytes(Some(value)) => Cell::Bytes(value),
            Value::Bool(None) | Value::BigInt(None) | Value::String(None) | Value::Bytes(None) => continue,
            other => return Err(Error::internal(format!("a column of a kind that has no tag: {other:?}"))),
        };
        bytes.add(column.as_str(), &cell)?;
    }
    Ok(bytes.end())
}
