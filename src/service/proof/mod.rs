//! The signing keys of this server, and the verification of stored data.

mod key_checkpoint;
mod key_statements;
mod key_view;
mod set_tree;
mod signer;
mod verify;

pub use key_checkpoint::{FromCheckpoint, verified_head};
pub use key_view::{KeyView, public};
pub use set_tree::{SetMoves, apply_moves, leaf, moves_of, tree_of};
pub use signer::Signer;
