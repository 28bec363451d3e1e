//! The configuration in force: complete and in range. [`super::resolve`] makes it of what was written.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::auth::AuthConfig;
use super::connection_url::ConnectionUrl;
use super::settings::{LogFormat, SigningAlgorithm};
use crate::domain::quota::ServerQuotas;
use crate::transport::ConnectionLimits;

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The database and the data directory.
    pub storage: StorageConfig,
    /// The addresses that the server listens on, and how it stops.
    pub listen: ListenConfig,
    /// How many connections of gRPC there may be, and how long each part of one may take.
    pub connections: ConnectionLimits,
    /// The signing keys, and the audience of tokens.
    pub keys: KeysConfig,
    /// Who may call besides those with a token of the local issuer.
    pub auth: AuthConfig,
    /// How subscribers are kept up to date.
    pub watch: WatchConfig,
    /// What namespaces and principals may use where nothing else is said for them.
    pub quotas: ServerQuotas,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// The database and the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Holds the embedded database, `keys/`, `admin.token` and `addr.json`.
    pub data_dir: PathBuf,
    /// Scheme `sqlite`, `postgres` or `postgresql`. The path of a default one is percent-encoded.
    pub database_url: ConnectionUrl,
    /// Where to LISTEN, when not at `database_url`. PostgreSQL.
    pub listen_url: Option<ConnectionUrl>,
    /// Whether `serve` migrates. Without it, `serve` refuses a schema that is not this version's.
    pub migrate: bool,
}

/// The addresses that the server listens on, and how it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// gRPC. Loopback, unless `tls` is there or `insecure_plaintext` was said.
    pub grpc_addr: SocketAddr,
    /// Health, metrics and JWKS, in plaintext.
    pub http_addr: SocketAddr,
    /// TLS of gRPC.
    pub tls: Option<TlsConfig>,
    /// Whether plaintext beyond loopback was asked for by name.
    pub insecure_plaintext: bool,
    /// Whether gRPC reflection answers, to whoever reaches the port. It tells the contract, and nothing of any tenant.
    pub reflection: bool,
    /// Time from the signal until open connections are closed, at most 22 s: the process ends 8 s later at the latest. Too high: the
    /// platform kills the process first, and watches end without their resume cursor. Too low: calls in flight are cut, and their
    /// callers don't know whether they were done.
    pub drain_timeout: Duration,
    /// Largest content a Draft may bring, at most `limits::CONTENT_MAX_BYTES`. Lowering it leaves stored content valid.
    pub max_content_bytes: usize,
    /// What all requests in flight may take in memory together, 32 MiB to 2 GiB. Too high: the process outgrows its limit. Too
    /// low: requests wait for each other, and are refused with `REQUEST_BUDGET_EXHAUSTED`.
    pub max_in_flight_bytes: u64,
}

/// The files of a TLS identity; not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM certificate chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Whether to start with a certificate that has expired or is not valid yet. True: clients that look at the time refuse the
    /// server, and nothing but a warning and a metric says so.
    pub allow_invalid_time: bool,
}

/// The signing keys, and the audience of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysConfig {
    /// Holds `*.pem`.
    pub keys_dir: PathBuf,
    /// Hold further `signing-*.pem`.
    pub extra_keys_dirs: Vec<PathBuf>,
    /// 0 to 30 days. Too high: a key that leaked is replaced late. Too low: subscribers and verifiers that keep keys meet
    /// signatures of one they don't know.
    pub publish_before_use: Duration,
    /// Of the first signing key of a new store.
    pub signing_algorithm: SigningAlgorithm,
    /// `aud` of the local issuer's tokens. One per installation keeps the tokens of one out of the other.
    pub token_audience: String,
}

/// How subscribers are kept up to date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchConfig {
    /// 100 ms to 10 s. Too high: a dead stream is noticed late. Too low: every watch costs a message and every
    /// namespace a signature, that often.
    pub heartbeat_interval: Duration,
    /// 100 ms to 60 s. Too high: a caller who lost a role, or whose token expired, keeps the watch that much longer. Too low: every
    /// watch costs work that often.
    pub recheck_interval: Duration,
    /// 50 ms to 1 s. Too high: changes made at another replica arrive late. Too low:
    /// idle replicas load the database.
    pub poll_interval: Duration,
    /// Whether PostgreSQL notifies replicas of each other's changes. Without it they arrive one `poll_interval` late at most.
    pub listen_notify: bool,
    /// Per namespace. Too high: memory. Too low: a subscriber that pauses for a short time is served from the database.
    pub ring_events: usize,
    /// At this server. Too high: memory. Too low: subscribers are refused with `TOO_MANY_STREAMS`.
    pub max_streams: usize,
    /// Time from the check of one log to that of the next, 0 (no checks) to 24 h; nine times as long as the check took, if that
    /// is more. Too high: an edited row is noticed late. Too low: a tenth of a core is always busy.
    pub audit_interval: Duration,
}

/// Logs and traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Directives of `EnvFilter`; they parse.
    pub log_level: String,
    /// Collector of traces; none, no traces.
    pub otlp_endpoint: Option<ConnectionUrl>,
}
