//! The tables, one file each. Only the store uses these types.

pub mod approvals;
pub mod contents;
pub mod denials;
pub mod events;
pub mod guardrails;
pub mod idempotency;
pub mod imported_events;
pub mod imports;
pub mod manifests;
pub mod namespaces;
pub mod pointer_changes;
pub mod policies;
pub mod replicas;
pub mod reports;
pub mod revoked_tokens;
pub mod role_bindings;
pub mod row_changes;
pub mod run_ends;
pub mod run_policies;
pub mod runs;
pub mod schedules;
pub mod signing_keys;
pub mod store_meta;
pub mod subscribers;
pub mod versions;
