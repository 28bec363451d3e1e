//! Tests of what a subscriber accepts, and the signed messages made up for them.

mod activations;
pub mod signed_messages;
mod snapshots;
