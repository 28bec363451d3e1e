//! The commands of `policyhub`, on the SDK alone; `serve`, `migrate`, `backup`, `restore`, `epoch`, `token` and `config` call the
//! server module.
//!
//! Boundary: decides nothing about policies. Data goes to stdout, messages to stderr.
//! Exit codes: 0 done, 1 failed, 2 usage; of `release`, `adopt` and `publish` also 3, partial.

mod agent;
mod arguments;
mod command_line;
mod commands;
mod completer;
mod confirm;
mod content;
mod content_folder;
mod contexts;
#[cfg(test)]
mod documented_commands;
mod editor;
mod exit_code;
mod failure;
mod global;
mod local_check;
mod names;
mod narrowed;
mod next_steps;
mod output;
mod overview;
mod pages;
mod published_labels;
mod release;
mod rules_file;
mod run;
mod schedule_entry;
mod session;
mod typed_commands;

pub use command_line::Cli;
pub use run::main;
