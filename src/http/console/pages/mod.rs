//! The pages, one file each: what it reads, and the struct that its template shows.

pub mod activation;
pub mod active;
pub mod approvals;
pub mod archive;
pub mod content;
mod content_lines;
mod content_matches;
pub mod diff;
pub mod draft;
pub mod fleet;
pub mod guardrails;
pub mod keys;
pub mod log;
pub mod namespace;
mod namespace_alarms;
pub mod namespaces;
mod pointer_facts;
pub mod policy;
pub mod roles;
pub mod rule_trial;
pub mod runs;
mod schedule_rows;
pub mod schedules;
pub mod version;
mod version_forms;
