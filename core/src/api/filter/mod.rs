//! Text to filters (AIP-160) and orders (AIP-132), for every list the same.
//!
//! A filter of a stranger is read in one pass, within bounds on its length, its depth and its terms. Invariant: whatever the text
//! is, the answer is a filter of the list's own table, or an error that names the field, the column, and what would be taken.

mod asked;
mod order;
mod parser;
mod scanner;
mod typing;

pub use asked::{ListQuery, parse_asked};
pub use order::parse_order;
pub use parser::parse_filter;

#[cfg(test)]
mod tests;
