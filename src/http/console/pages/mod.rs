//! The pages, one file each: what it reads, and the struct that its template shows.

pub mod content;
mod content_lines;
pub mod namespace;
pub mod namespaces;
pub mod policy;
pub mod version;
mod version_forms;
