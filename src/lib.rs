//! Policy Hub: a policy control plane. Start at `docs/ARCHITECTURE.md`.
//!
//! The library of the server and of the command `policyhub`, for its binary and its tests: any release may change it.
//! Clients use the package `policyhub-client`.
#![warn(missing_docs)]
// The summary of the configuration is one `json!` of every key.
#![recursion_limit = "256"]

pub use policyhub_client::internal as client;
pub use policyhub_core::{api, domain, signing};

pub mod auth;
pub mod checks;
pub mod cli;
pub mod defect;
pub mod grpc;
pub mod http;
pub mod server;
pub mod service;
pub mod store;
pub mod transport;
pub mod watch;
