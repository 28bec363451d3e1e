//! `policyhub release`: CI delivers what changed in a policy repository.
//!
//! From git (`git`) and `.state` (`state`, `delivered_file`) comes a plan (`plan`), decided without I/O; its versions are inspected
//! (`folder`, `files`, `inspect`), delivered (`deliver`, `label_order`) or rehearsed (`rehearse`, `checked_version`), activated
//! (`activation`), recorded in git (`keep`), and reported (`outcome`, `summary`, `markdown`, `github`).
//! Invariant: only what the released commit holds is published, and the next run completes one that was killed.

mod activation;
mod arguments;
mod baseline;
mod checked_version;
mod deliver;
mod delivered_file;
mod fault;
mod files;
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
mod rehearse;
mod request_ids;
mod run;
mod state;
mod steps;
mod summary;

pub use arguments::ReleaseArguments;
pub use run::run;

// `adopt` and `check` share these: the folders, and the report of each.
pub(super) use self::{
    baseline::ChangedPaths,
    fault::Fault,
    files::{DEFINITION, Files, files},
    folder::{Definition, EntryKind, FolderVersion, METADATA, TreeEntry, folder_of, is_version_name},
    git::Git,
    inspect::{is_unreached, live_version},
    outcome::{FolderResult, ReleaseStatus, ResultCounts, VersionOutcome},
    plan::{PlannedVersion, plan},
    steps::Steps,
    summary::{left_lines, line, listed},
};
