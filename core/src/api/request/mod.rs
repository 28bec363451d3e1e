//! Requests from the wire, checked and turned into the domain's commands. All field violations are told at once where
//! that is possible; nothing here reads anything but the request.

mod admin;
mod bindings;
mod collect_errors;
mod fields;
mod guardrails;
mod imports;
mod lists;
mod mutation;
mod mutations;
mod runs;
mod schedules;
mod scope;
mod subscribers;
mod sync;

pub use admin::{
    activate_key, create_namespace, list_namespaces, list_signing_keys, prepare_key, revoke_key, revoke_token,
    thaw_namespace, update_namespace, verify_log,
};
pub use bindings::{create_role_binding, delete_role_binding, list_denials, list_role_bindings};
pub use fields::{namespace, policy, request_options, version};
pub use guardrails::{guardrails_name, update_guardrails};
pub use imports::import_namespace;
pub use lists::{EventQuery, PolicyQuery, VersionQuery, get_version, list_events, list_policies, list_versions};
pub use mutation::Mutation;
pub use mutations::{
    abandon_draft, activate, approve_version, create_policy, deactivate, draft, publish, publish_versions,
    reject_version, rollback, stage, update_policy,
};
pub use runs::{complete_run, get_run, list_runs, record_run, write_run_key};
pub use schedules::{cancel_schedule, create_schedule, list_schedules, resume_schedule, schedule_name};
pub use scope::{Scoped, watch_scopes};
pub use subscribers::{get_convergence, list_subscribers, report_status, watcher};
pub use sync::{get_active, heartbeat_interval, key_cursor, list_active, watch, watch_size, write_active_key};
