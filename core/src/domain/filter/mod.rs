//! Filters of lists (AIP-160): what a list can be narrowed by, and whether an item belongs to it.
//!
//! A filter is a tree of restrictions whose fields and values have been checked against the one table of its list. Text becomes a
//! filter in `api/filter`. Invariant: a filter decides alone which items belong to a list; what it gives to an index (ranges,
//! words, an exact text) only leaves out items that it would leave out itself.

mod bounds;
mod field;
mod operand;
mod spelling;
mod tree;

pub use bounds::{Range, Served};
pub use field::{EnumNames, Field, Kind, Listing, Order, Placement};
pub use operand::{Operand, Operator, Value};
pub use spelling::{Conditions, quoted};
pub use tree::{Filter, Node, Restriction};
