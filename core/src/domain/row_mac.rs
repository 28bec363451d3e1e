//! Message authentication codes (MACs) of rows: they prove that a server with the key wrote a row.
//!
//! Boundary: the store asks for MACs and compares them; the holder of the key computes them. The key is never in the database.

use super::digest::{Digest, Hash};

/// Computes and verifies MACs of rows, each given as the canonical bytes of its columns.
pub trait RowMac: Send + Sync + std::fmt::Debug {
    /// Returns the MAC of a row.
    fn mac(&self, row: &[u8]) -> Hash;

    /// Returns whether `tag` is the MAC of this row. Takes the same time for every wrong one.
    fn verify(&self, row: &[u8], tag: &[u8]) -> bool;

    /// Returns the digest of a row, by which events name what they wrote.
    fn digest(&self, row: &[u8]) -> Digest;
}
