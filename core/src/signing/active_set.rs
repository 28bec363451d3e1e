//! The root of an active set, and proofs of what it holds of some policies.
//!
//! Boundary: pure; sees neither stream nor store. `leaf` defines the tree, `tree` keeps one that is updated, `proof` checks.
//! Invariant: a set has exactly one tree, and a filter exactly one proof under its root.

mod leaf;
mod proof;
mod proof_error;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use leaf::{ActiveLeaf, EMPTY_ROOT, active_set_root};
pub use proof::verify_set_proof;
pub use proof_error::SetProofError;
pub use tree::ActiveSetTree;
