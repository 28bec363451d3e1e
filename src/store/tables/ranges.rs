//! Ranges of a filter, as an index is asked for them.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter as _, Select};

use crate::domain::filter::Range;

/// Asks for the rows alone whose column is in a range.
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
