//! Policies and their versions, one file per verb.

mod abandon_draft;
mod activate;
mod alarms;
mod approvals;
mod approve_version;
mod create_policy;
mod deactivate;
mod diff_versions;
mod draft;
mod from_template;
mod get_guardrails;
mod get_policy;
mod get_report;
mod get_version;
mod list_policies;
mod list_staged;
mod list_versions;
mod other_policies;
mod pointer_checks;
mod pointer_history;
mod publication;
mod publish;
mod publish_versions;
mod reject_version;
mod rollback;
mod rule_trial;
mod schedules;
mod stage;
mod targets;
mod update_guardrails;
mod update_policy;
mod use_cases;
mod version_change;

pub use list_staged::StagedVersion;
pub use use_cases::Policies;
