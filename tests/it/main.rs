//! The integration tests: one binary, one file per verb, run on SQLite and on PostgreSQL by the same bodies.

#![expect(clippy::disallowed_methods, reason = "tests spawn their own tasks and look at their own environment")]

#[cfg(test)]
mod abuse;
#[cfg(test)]
mod abuse_answers;
#[cfg(test)]
mod abuse_bodies;
#[cfg(test)]
mod abuse_content;
#[cfg(test)]
mod abuse_memory;
#[cfg(test)]
mod access;
#[cfg(test)]
mod activate;
#[cfg(test)]
mod activate_checks;
#[cfg(test)]
mod active;
#[cfg(test)]
mod active_list;
#[cfg(test)]
mod active_saved;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod agent;
#[cfg(test)]
mod agent_again;
#[cfg(test)]
mod agent_kills;
#[cfg(test)]
mod annotations;
#[cfg(test)]
mod another_event;
#[cfg(test)]
mod another_store;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod approval_races;
#[cfg(test)]
mod approval_tamper;
#[cfg(test)]
mod approvals;
#[cfg(test)]
mod asking;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod audit_cli;
#[cfg(test)]
mod backup;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod break_glass;
#[cfg(test)]
mod check;
#[cfg(test)]
mod check_hook;
mod check_rules_file;
#[cfg(test)]
mod check_slots;
#[cfg(test)]
mod check_unreadable;
#[cfg(test)]
mod check_workers;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cli_errors;
#[cfg(test)]
mod cli_look;
#[cfg(test)]
mod cli_set;
#[cfg(test)]
mod client_memory;
#[cfg(test)]
mod clocks;
#[cfg(test)]
mod completions;
#[cfg(test)]
mod compressed;
#[cfg(test)]
mod confusion;
#[cfg(test)]
mod console;
#[cfg(test)]
mod contexts;
#[cfg(test)]
mod convergence;
#[cfg(test)]
mod convergence_filters;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod cursors;
#[cfg(test)]
mod deactivate;
#[cfg(test)]
mod denials;
#[cfg(test)]
mod denied;
#[cfg(test)]
mod disk_errors;
#[cfg(test)]
mod documented_backups;
#[cfg(test)]
mod draft;
#[cfg(test)]
mod durability;
#[cfg(test)]
mod edit;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod engines_hostile;
#[cfg(test)]
mod epochs;
#[cfg(test)]
mod epochs_watch;
#[cfg(test)]
mod etags;
#[cfg(test)]
mod event_times;
#[cfg(test)]
mod events;
#[cfg(test)]
mod export;
#[cfg(test)]
mod fan_out;
#[cfg(test)]
mod filters;
#[cfg(test)]
mod followed_logs;
#[cfg(test)]
mod frozen;
#[cfg(test)]
mod frozen_import;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod guardrails;
#[cfg(test)]
mod guardrails_hostile;
#[cfg(test)]
mod guardrails_tamper;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hostile_endless;
#[cfg(test)]
mod hostile_ends;
#[cfg(test)]
mod hostile_pages;
#[cfg(test)]
mod hostile_streams;
#[cfg(test)]
mod hostile_whole;
#[cfg(test)]
mod hostile_words;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod immutable;
#[cfg(test)]
mod import;
#[cfg(test)]
mod import_forged;
#[cfg(test)]
mod import_hostile;
#[cfg(test)]
mod import_keys;
#[cfg(test)]
mod import_reviews;
#[cfg(test)]
mod import_tamper;
#[cfg(test)]
mod key_checkpoint;
mod key_checkpoint_doubt;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod keys_files;
#[cfg(test)]
mod keys_followed;
#[cfg(test)]
mod keys_rotation;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod log_check;
#[cfg(test)]
mod long_reads;
#[cfg(test)]
mod lost_files;
#[cfg(test)]
mod man_in_the_middle;
#[cfg(test)]
mod many_namespaces;
#[cfg(test)]
mod migrate;
#[cfg(test)]
mod mtls;
#[cfg(test)]
mod mtls_renewed;
#[cfg(test)]
mod names;
#[cfg(test)]
mod notify;
#[cfg(test)]
mod oidc;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod protocols;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod publish_many;
#[cfg(test)]
mod publish_many_again;
#[cfg(test)]
mod quotas;
#[cfg(test)]
mod quotas_rates;
#[cfg(test)]
mod random;
#[cfg(test)]
mod random_checks;
#[cfg(test)]
mod random_lies;
#[cfg(test)]
mod references;
#[cfg(test)]
mod reflection;
#[cfg(test)]
mod release;
#[cfg(test)]
mod required_fields;
#[cfg(test)]
mod requires;
#[cfg(test)]
mod restore;
#[cfg(test)]
mod restore_failed;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod ring_budget;
#[cfg(test)]
mod roles;
#[cfg(test)]
mod rollback;
#[cfg(test)]
mod rolling;
#[cfg(test)]
mod rule_trials;
#[cfg(test)]
mod run_lists;
#[cfg(test)]
mod run_sets;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod runs_migrated;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod schedules_local_times;
#[cfg(test)]
mod schedules_replicas;
#[cfg(test)]
mod schedules_tamper;
#[cfg(test)]
mod sdk;
#[cfg(test)]
mod sdk_watch;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod service_config;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod stream_vectors;
#[cfg(test)]
mod subscribers;
#[cfg(test)]
mod subscribers_idle;
#[cfg(test)]
mod subscribers_replicas;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod tamper_credentials;
#[cfg(test)]
mod tamper_hidden_history;
#[cfg(test)]
mod tamper_hidden_rows;
#[cfg(test)]
mod tamper_older_rows;
#[cfg(test)]
mod tamper_rows;
#[cfg(test)]
mod templates;
#[cfg(test)]
mod templates_hostile;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod transport;
#[cfg(test)]
mod transport_accept;
#[cfg(test)]
mod transport_ends;
#[cfg(test)]
mod transport_requests;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod vectors_active_sets;
#[cfg(test)]
mod vectors_key_statements;
#[cfg(test)]
mod versions;
#[cfg(test)]
mod watch;
#[cfg(test)]
mod watch_many;
#[cfg(test)]
mod watch_namespaces;
#[cfg(test)]
mod watch_resume;
#[cfg(test)]
mod watcher;
#[cfg(test)]
mod yaml_streams;
