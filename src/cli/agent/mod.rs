//! The parts of `policyhub agent`: verified sets as folders, the link that names the one in force, and the operator's commands.
//!
//! Boundary: no stream and no server; `commands/agent.rs` connects the watcher to these parts.

pub(super) mod applier;
pub(super) mod directory;
pub(super) mod folder;
pub(super) mod hook;
#[cfg(test)]
mod samples;
pub(super) mod set;
pub(super) mod status;
mod status_file;
