//! The pages, one file each: what it reads, and the struct that its template shows.

pub mod activation;
pub mod active;
pub mod approvals;
pub mod content;
mod content_lines;
pub mod diff;
pub mod draft;
pub mod fleet;
pub mod guardrails;
pub mod keys;
pub mod log;
pub mod namespace;
pub mod namespaces;
mod pointer_facts;
pub mod policy;
pub mod roles;
pub mod runs;
pub mod schedules;
pub mod version;
mod version_forms;
