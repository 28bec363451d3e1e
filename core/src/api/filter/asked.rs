//! `filter` and `order_by` of one request.

use super::order::parse_order;
use super::parser::parse_filter;
use crate::domain::filter::{Filter, Listing};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// Holds what a request for a list asks for.
#[derive(Debug)]
pub struct ListQuery<T: 'static> {
    /// Says which items.
    pub filter: Filter<T>,
    /// Says whether the order is the reverse of that of the index.
    pub is_descending: bool,
    /// The filter and the order as one text: the same for all requests that ask for the same. It binds a page token to them.
    pub key: String,
}

/// Reads `filter` and `order_by`, as a list takes them; `namespace` is that of the policies that the filter names.
///
/// # Errors
/// `INVALID_ARGUMENT`, with what is wrong with either.
pub fn parse_asked<T>(
    listing: &'static Listing<T>,
    namespace: Option<&NamespaceId>,
    filter: &str,
    order_by: &str,
) -> Result<ListQuery<T>> {
    match (parse_filter(listing, namespace, filter), parse_order(listing, order_by)) {
        (Ok(filter), Ok(order)) => {
            let key = format!("{} {filter}", order.map_or("", |order| order.text));
            Ok(ListQuery { filter, is_descending: order.is_some_and(|order| order.is_descending), key })
        }
        (Err(one), Err(other)) => Err(Error::invalid_fields([one.violations, other.violations].concat())),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}
