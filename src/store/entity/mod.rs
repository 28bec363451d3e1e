//! The tables, one file each. Only the store names them.

pub mod contents;
pub mod events;
pub mod idempotency;
pub mod namespaces;
pub mod pointer_changes;
pub mod policies;
pub mod reports;
pub mod runs;
pub mod store_meta;
pub mod subscribers;
pub mod versions;
