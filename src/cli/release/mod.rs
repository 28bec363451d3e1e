//! `policyhub release`: what changed in a policy repository, delivered by CI.
//!
//! From git (`git`) and `.state` (`state`) comes a plan (`plan`), decided without I/O; its versions are inspected
//! (`folder`, `inspect`), delivered (`deliver`), activated (`activation`), and told of (`outcome`, `summary`, `markdown`).
//! Invariant: what is published is what the released commit names, and a run that is killed is healed by the next one.

mod activation;
mod arguments;
mod baseline;
mod deliver;
mod folder;
mod git;
mod inspect;
mod markdown;
mod outcome;
mod pipeline;
mod plan;
mod run;
mod state;
mod summary;

pub use arguments::Arguments;
pub use run::run;
