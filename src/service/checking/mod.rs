//! The checks of versions: their input, and the processes that run them.

mod check_input;
mod content_checks;
mod other_policies;
mod runner;
mod slots;
mod templates;
mod worker_process;
mod workers;

pub use check_input::{
    CheckInput, CheckKind, changed_meanwhile, guardrails_in_force, has_todays_rules, is_of_today, put_failed_report,
};
pub use content_checks::{ContentChecks, ParsedCheck};
pub use other_policies::is_still_active;
pub use runner::CheckRunner;
pub use slots::{NAMESPACE_CHECKS_MAX, SlotUse, run_blocking};
