//! The configuration in force: complete and in range. [`super::resolve`] makes it from the settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::auth::AuthConfig;
use super::connection_url::ConnectionUrl;
use super::settings::{LogFormat, SigningAlgorithm};
use crate::domain::quota::ServerQuotas;
use crate::transport::ConnectionLimits;
use crate::watch::RingLimits;

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The database and the data directory.
    pub storage: StorageConfig,
    /// The addresses that the server listens on, and how it stops.
    pub listen: ListenConfig,
    /// Number of gRPC connections, and the time limits of their steps.
    pub connections: ConnectionLimits,
    /// The signing keys, and the audience of tokens.
    pub keys: KeysConfig,
    /// Who may call besides holders of local tokens.
    pub auth: AuthConfig,
    /// How subscribers are kept up to date.
    pub watch: WatchConfig,
    /// Default quotas of namespaces and principals.
    pub quotas: ServerQuotas,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// The database and the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Contains the embedded database, `keys/`, `admin.token` and `addr.json`.
    pub data_dir: PathBuf,
    /// Scheme `sqlite`, `postgres` or `postgresql`. The default path is percent-encoded.
    pub database_url: ConnectionUrl,
    /// The PostgreSQL server for LISTEN, when it is not `database_url`.
    pub listen_url: Option<ConnectionUrl>,
    /// Whether `serve` migrates. If not, `serve` refuses a schema of another version.
    pub migrate: bool,
}

/// The addresses that the server listens on, and how it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// gRPC address. Loopback, unless `tls` or `insecure_plaintext` is set.
    pub grpc_addr: SocketAddr,
    /// Address of health, metrics and JWKS, in plaintext.
    pub http_addr: SocketAddr,
    /// The web console; none: it is off.
    pub console: Option<ConsoleConfig>,
    /// Where browsers reach it, without a path; none: on loopback, wherever they do.
    pub console_url: Option<String>,
    /// TLS of gRPC and of the console.
    pub tls: Option<TlsConfig>,
    /// Whether plaintext beyond loopback was explicitly allowed.
    pub insecure_plaintext: bool,
    /// Whether gRPC reflection answers everybody who reaches the port. It shows the contract, and no tenant data.
    pub reflection: bool,
    /// Time from the signal until open connections are closed, at most 22 s: the process ends 8 s later at the latest. Too high:
    /// the platform kills the process first, and watches end without their resume cursor. Too low: calls in flight are cut, and
    /// their callers do not know whether they took effect.
    pub drain_timeout: Duration,
    /// Largest content of a Draft, at most `limits::CONTENT_MAX_BYTES`. When it is lowered, stored content stays valid.
    pub max_content_bytes: usize,
    /// Memory for all requests in flight together, 32 MiB to 2 GiB. Too high: the process exceeds its memory limit. Too low:
    /// requests wait for each other, and are refused with `REQUEST_BUDGET_EXHAUSTED`.
    pub max_in_flight_bytes: u64,
}

/// Where the web console listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// Its address. Loopback, unless `tls` or `insecure_plaintext` is set.
    pub addr: SocketAddr,
    /// Whether the operator named the address. If not, a server whose port is taken serves without a console.
    pub is_named: bool,
}

/// The files of a TLS identity; they have not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificate chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Whether to start with a certificate that is expired or not valid yet. True: clients that check the time refuse the server,
    /// and only a warning and a metric report it.
    pub allow_invalid_time: bool,
}

/// The signing keys, and the audience of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysConfig {
    /// Directory of `*.pem`.
    pub keys_dir: PathBuf,
    /// Further directories of `signing-*.pem`.
    pub extra_keys_dirs: Vec<PathBuf>,
    /// 0 to 30 days. Too high: a leaked key is replaced late. Too low: subscribers and verifiers that cache keys receive signatures
    /// of a key they do not know.
    pub publish_before_use: Duration,
    /// Algorithm of the first signing key of a new store.
    pub signing_algorithm: SigningAlgorithm,
    /// `aud` of the local issuer's tokens. With one per installation, tokens of one are not valid in another.
    pub token_audience: String,
}

/// How subscribers are kept up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchConfig {
    /// 100 ms to 10 s. Too high: a dead stream is noticed late. Too low: frequent messages to every watch and signatures for every
    /// namespace.
    pub heartbeat_interval: Duration,
    /// 100 ms to 60 s. Too high: a caller who lost a role, or whose token expired, keeps the watch that much longer. Too low:
    /// frequent work for every watch.
    pub recheck_interval: Duration,
    /// 50 ms to 1 s. Too high: changes made at another replica arrive late. Too low: idle replicas load the database.
    pub poll_interval: Duration,
    /// Whether PostgreSQL notifies replicas of each other's changes. Without it they arrive at most one `poll_interval` late.
    pub listen_notify: bool,
    /// Events kept in memory per namespace. Too high: memory. Too low: a subscriber that pauses for a short time is served from the
    /// database.
    pub ring_events: usize,
    /// Bytes that the events kept in memory of all namespaces may hold together. Too high: memory. Too low: the same as with few events,
    /// and the namespaces that hold most feel it first.
    pub max_ring_bytes: usize,
    /// Watches at this server. Too high: memory. Too low: subscribers are refused with `TOO_MANY_STREAMS`.
    pub max_streams: usize,
    /// Time from the check of one log to that of the next, 0 (no checks) to 24 h; nine times as long as the check took, if that is
    /// more. Too high: an edited row is noticed late. Too low: a tenth of a core is always busy.
    pub audit_interval: Duration,
}

impl WatchConfig {
    /// Returns what is kept in memory for watches.
    pub fn rings(&self) -> RingLimits {
        RingLimits { events: self.ring_events, max_bytes: self.max_ring_bytes }
    }
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Directives of `EnvFilter`; they are valid.
    pub log_level: String,
    /// Collector of traces; `None`: no traces.
    pub otlp_endpoint: Option<ConnectionUrl>,
}
