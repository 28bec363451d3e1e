//! Conditions on a column for the ranges of a filter, in a form that an index serves.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter as _, Select};

use crate::domain::filter::Range;

/// Restricts a query to the rows whose column is in a range.
pub(in crate::store) fn within<E: EntityTrait>(
    mut query: Select<E>,
    column: impl ColumnTrait,
    range: Range,
) -> Select<E> {
    if let Some(start) = range.start {
        query = query.filter(column.gte(start));
    }
    if let Some(end) = range.end {
        query = query.filter(column.lt(end));
    }
    query
}
