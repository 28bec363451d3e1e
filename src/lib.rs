//! Policy Hub: a policy control plane. Start at `docs/ARCHITECTURE.md`.
#![warn(missing_docs)]
// The summary of the configuration is one `json!` of every key.
#![recursion_limit = "256"]

pub mod api;
pub mod domain;
pub mod signing;

#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod checks;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(feature = "server")]
pub mod http;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod watch;
