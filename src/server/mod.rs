//! How it runs: configuration, wiring, background tasks, shutdown.
//!
//! May use every room below; decides nothing about policies.

pub mod config;
pub mod token_file;
