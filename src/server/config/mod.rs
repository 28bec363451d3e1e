//! The configuration of the server: flags over `POLICYHUB_*` environment over one TOML file over defaults.
//!
//! [`Settings`] holds what the operator wrote, [`Config`] what is in force: complete and in range; otherwise the start fails.
//! Nothing here prints a password, and no other module reads a flag or the environment.

pub mod auth;
pub mod connection_url;
mod connections;
mod console_addr;
pub mod effective;
pub mod error;
mod issuer_list;
mod postgres_url;
mod quotas;
mod range;
pub mod resolve;
pub mod settings;
mod sign_in;
mod summary;

#[cfg(test)]
mod tests;

pub use auth::{AuthConfig, ClientCa, IssuerConfig, JwksSource, SignInConfig, secure_url};
pub use connection_url::{ConnectionUrl, has_stray_percent};
pub use console_addr::ConsoleAddr;
pub use effective::{
    Config, ConsoleConfig, KeysConfig, ListenConfig, StorageConfig, TelemetryConfig, TlsConfig, WatchConfig,
};
pub use error::ConfigError;
pub use resolve::{CONSOLE_PORT, DATA_DIR, GRPC_PORT};
pub use settings::{LogFormat, Settings, SigningAlgorithm};
