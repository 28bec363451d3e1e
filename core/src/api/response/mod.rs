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
mod run;
mod subscriber;
mod version;

pub use active::{
    activation, activation_part, active, active_bundle, active_page, cursor, heartbeat, key_statement, opened,
    reconnect, snapshot, snapshot_part, watch_ended,
};
pub use audit::{log_progress, verdict};
pub use binding::role_binding;
pub use denial::denial;
pub use event::{activation_summary, event, event_kind, imported_event};
pub use import::{imported, namespace_import};
pub use key::signing_key;
pub use outcome::key_revoked;
pub use policy::{namespace, policy};
pub use run::{run, run_count, run_outcome};
pub use subscriber::{convergence, seen_subscriber, subscriber};
pub use version::{approvals, published_versions, report, version, version_with_content};
