//! `policyhub release`, as a job of continuous integration runs it: a git repository in a directory, the real binary, a
//! real server.

mod activation;
mod adopt;
mod folders;
mod history;
mod independence;
mod job;
mod kills;
mod migrated;
mod printed;
mod rehearsed;
mod repository;
mod server;
mod several_files;
mod workflow;
