//! `order_by`: one of the orders of the list.

use crate::domain::filter::{Listing, Order};
use crate::domain::{Error, Result};

/// Reads `order_by`; none for a list that has no order but its own. Words are separated by any white space (AIP-132).
///
/// # Errors
/// `INVALID_ARGUMENT` for another order than those of the list.
pub fn parse_order<T>(listing: &'static Listing<T>, text: &str) -> Result<Option<&'static Order>> {
    if text.trim().is_empty() {
        return Ok(listing.orders.first());
    }
    let is_asked = |order: &&Order| order.text.split(' ').eq(text.split_whitespace());
    let found = listing.orders.iter().find(is_asked);
    let rule = || format!("is no order of this list, which takes {}", listing.orders_description());
    found.map(Some).ok_or_else(|| Error::invalid("order_by", rule()))
}
