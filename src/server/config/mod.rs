//! What the operator chose: flags over `POLICYHUB_*` environment over one TOML file over defaults.
//!
//! [`Settings`] is what was written, [`Config`] what is in force: complete, in range, and refused at the start when it
//! is not. Nothing here prints a password, and no other module reads a flag or the environment.

pub mod auth;
pub mod connection_url;
pub mod connections;
pub mod error;
mod postgres_url;
mod quotas;
pub mod resolve;
pub mod settings;
mod summary;

#[cfg(test)]
mod tests;

pub use auth::{AuthConfig, ClientCa, IssuerConfig, JwksSource};
pub use connection_url::ConnectionUrl;
pub use error::ConfigError;
pub use resolve::{
    Config, DATA_DIR, GRPC_PORT, KeysConfig, ListenConfig, StorageConfig, TelemetryConfig, TlsConfig, WatchConfig,
};
pub use settings::{LogFormat, Settings, SigningAlgorithm};
