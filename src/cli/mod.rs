//! The commands of `policyhub`, on the SDK alone; `serve`, `migrate`, `backup`, `restore`, `epoch`, `token` and `config` call
//! the server room.
//!
//! Boundary: decides nothing about policies. Data goes to stdout, talk to stderr.
//! Exit codes: 0 done, 1 failed, 2 usage; of `release` also 3, partial.

pub mod args;
pub mod failure;
pub mod global;
pub mod names;
pub mod output;
pub mod run;
pub mod session;
pub mod text;

mod abandon;
mod activate;
mod activate_set;
mod active;
mod active_folder;
mod active_moves;
mod active_pages;
mod adopt;
mod agent;
mod annotations;
mod approve;
mod backup;
mod bump;
mod completions;
mod confirm;
mod content;
mod context;
mod contexts;
mod convergence;
mod deactivate;
mod denials;
mod diff;
mod draft;
mod epoch;
mod events;
mod export;
mod history;
mod import;
mod keys;
mod look;
mod man;
mod namespace;
mod narrowed;
mod next;
mod overview;
mod pages;
mod policy;
mod policy_settings;
mod progress;
mod publish;
mod quotas;
mod reject;
mod release;
mod releases;
mod report;
mod report_text;
mod restore;
mod role;
mod rollback;
mod runs;
mod server_commands;
mod show;
mod stage;
mod subscribers;
mod token;
mod verify;
mod verify_log;
mod watch;
mod watch_text;
mod yaml;

pub use args::Cli;
pub use run::main;
