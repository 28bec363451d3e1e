//! Tags of rows: what says that this server wrote a row, when no signature says so.
//!
//! Boundary: the store asks for tags and compares them; whoever holds the key makes them. The key is never in the database.

use super::digest::{Digest, Hash};

/// Makes and compares tags of rows, each given as the canonical bytes of its columns.
pub trait RowMac: Send + Sync + std::fmt::Debug {
    /// The tag of a row.
    fn mac(&self, row: &[u8]) -> Hash;

    /// Whether a tag is of this row. Takes the same time for every wrong tag.
    fn verify(&self, row: &[u8], tag: &[u8]) -> bool;

    /// The digest of a row, by which events name what they wrote.
    fn digest(&self, row: &[u8]) -> Digest;
}
