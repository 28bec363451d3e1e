//! What is true: ids, versions, lifecycle decisions, activations, limits, errors.
//!
//! Pure, synchronous and total. Never sees a clock, I/O, tokio, tonic, sea-orm or ring.

pub mod digest;
pub mod error;
pub mod label;
pub mod limits;
pub mod name;
pub mod policy;
pub mod report;
pub mod time;

pub use error::{Error, Reason, Result};
