//! The domain, written for the wire.

mod active;
mod audit;
mod binding;
mod denial;
mod event;
mod guardrails;
mod import;
mod key;
mod outcome;
mod policy;
mod row;
mod run;
mod schedule;
mod subscriber;
mod version;

pub use active::{
    activation, active, active_bundle, active_page, cursor, heartbeat, key_statement, opened, reconnect, snapshot,
    watch_ended,
};
pub use audit::{log_progress, verdict};
pub use binding::role_binding;
pub use denial::denial;
pub use event::{activation_summary, event, event_kind, imported_event};
pub use import::imported;
pub use key::signing_keys;
pub use outcome::{key_activated, key_prepared, key_revoked, token_revoked};
pub use policy::{found_namespace, namespace, policy};
pub use row::{export_opened, exported_rows};
pub use run::{run, run_counts, run_outcome};
pub use schedule::schedule;
pub use subscriber::{convergence, seen_subscriber, status_reported};
pub use version::{found_report, published_versions, version, version_with_content};
