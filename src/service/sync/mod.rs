//! What running services read, watch and report, one file per verb.

mod complete_run;
mod convergence_polls;
mod count_fleet;
mod count_runtimes;
mod follow_namespace;
mod found_lines;
mod get_active;
mod get_convergence;
mod get_run;
mod in_force;
mod lease;
mod list_active;
mod list_runs;
mod list_subscribers;
mod record_run;
mod report_status;
mod run_policies;
mod search_active;
mod search_slots;
mod set_digest;
mod set_digest_cache;
mod use_cases;
mod watch_active;

pub use follow_namespace::NamespaceStamp;
pub use found_lines::FoundLine;
pub use get_active::ActiveAnswer;
pub use list_active::ActivePage;
pub use search_active::{ActiveMatch, ActiveMatches, SearchActive};
pub use use_cases::Sync;
