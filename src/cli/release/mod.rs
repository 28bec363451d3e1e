//! `policyhub release`: what changed in a policy repository, delivered by CI.
//!
//! From git (`git`) and `.state` (`state`, `delivered_file`) comes a plan (`plan`), decided without I/O; its versions are inspected
//! (`folder`, `inspect`), delivered (`deliver`, `label_order`), activated (`activation`), kept in git (`keep`), and told of
//! (`outcome`, `summary`, `markdown`, `github`).
//! Invariant: what is published is what the released commit names, and a run that is killed is healed by the next one.

mod activation;
mod arguments;
mod baseline;
mod deliver;
mod delivered_file;
mod fault;
mod folder;
mod git;
mod github;
mod inspect;
mod keep;
pub(super) mod label_order;
mod markdown;
mod outcome;
mod pipeline;
mod plan;
mod publish_together;
mod request_ids;
mod run;
mod state;
mod steps;
mod summary;

pub use arguments::Arguments;
pub use run::run;

// What adopting shares: the folders, and what is told of each.
pub(super) use self::{
    baseline::ChangedPaths,
    fault::Fault,
    folder::{Definition, Entry, Files, Key, Kind, METADATA, folder_of},
    git::Git,
    inspect::{is_unreached, live_version},
    outcome::{ReleaseStatus, ResultCounts, VersionOutcome, VersionResult},
    plan::{PlannedVersion, plan},
    steps::Steps,
    summary::{left_lines, line, listed},
};
