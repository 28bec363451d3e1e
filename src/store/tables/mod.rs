//! Queries and row conversions, one file per table, or per question about several tables.

pub mod approvals;
pub mod archived_rows;
pub mod audit;
pub mod bindings;
pub mod changed_logs;
pub mod closed_versions;
pub mod contents;
pub mod denials;
pub mod events;
pub mod guardrails;
pub mod held_leases;
pub mod idempotency;
pub mod imports;
pub mod keys;
pub mod manifests;
pub mod meta;
pub mod namespaces;
pub mod pointer_moves;
pub mod pointers;
pub mod policies;
pub mod published;
#[cfg(test)]
mod query_plans;
pub mod ranges;
pub mod replicas;
pub mod reports;
pub mod requirements;
pub mod revocations;
pub mod row_changes;
pub mod rows;
pub mod run_list;
pub mod run_rows;
pub mod runs;
pub mod schedules;
pub mod subscribers;
pub mod version_list;
pub mod versions;
