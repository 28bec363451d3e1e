//! From what was written to what is in force: defaults, ranges, and the rules between keys.
//!
//! Pure: it opens no file and no socket, so `config check` is safe anywhere.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::auth::AuthConfig;
use super::connection_url::ConnectionUrl;
use super::error::ConfigError;
use super::postgres_url;
use super::settings::{LogFormat, Settings, SigningAlgorithm};
use crate::auth::issuer::DEFAULT_AUDIENCE;
use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::domain::quota::ServerQuotas;
use crate::grpc::{IN_FLIGHT_MAX_BYTES, IN_FLIGHT_MIN_BYTES};
use crate::transport::ConnectionLimits;

/// Where a server keeps its data when nobody says where.
pub const DATA_DIR: &str = "./policyhub-data";
/// Where a server listens when nobody says where.
pub const GRPC_PORT: u16 = 7070;
const HTTP_PORT: u16 = 7071;
const HEARTBEAT_INTERVAL_MS: u64 = 10_000;
const RECHECK_INTERVAL_MS: u64 = 30_000;
const POLL_INTERVAL_MS: u64 = 1_000;
const AUDIT_INTERVAL_MS: u64 = 10_000;
const DRAIN_TIMEOUT_MS: u64 = 20_000;
/// Closing the database and sending the last traces come after it, and all of it must fit into 30 s.
const DRAIN_TIMEOUT_MAX_MS: u64 = 22_000;
const WATCH_RING_EVENTS: usize = 1_024;
const MAX_WATCH_STREAMS: usize = 20_000;
/// An hour: whoever keeps keys for so long still knows each one before it signs.
const KEY_PUBLISH_BEFORE_USE_MS: u64 = 60 * 60 * 1_000;
/// 30 days.
const KEY_PUBLISH_BEFORE_USE_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
const MAX_IN_FLIGHT_BYTES: u64 = 256 * 1024 * 1024;
const LOG_LEVEL: &str = "info";

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it is recorded.
    pub storage: StorageConfig,
    /// Where it listens, and how it stops.
    pub listen: ListenConfig,
    /// How many connections of gRPC there may be, and how long each part of one may take.
    pub connections: ConnectionLimits,
    /// Who signs, and for whom tokens are.
    pub keys: KeysConfig,
    /// Who may call besides those with a token of the local issuer.
    pub auth: AuthConfig,
    /// How subscribers are kept level.
    pub watch: WatchConfig,
    /// What namespaces and principals may use where nothing else is said for them.
    pub quotas: ServerQuotas,
    /// What operators see.
    pub telemetry: TelemetryConfig,
}

/// Where it is recorded.
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

/// Where it listens, and how it stops.
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
    /// From the signal until open connections are cut, at most 22 s: the end comes 8 s later at the latest. Too high: the platform kills the process first and watches end without
    /// their resume point. Too low: calls in flight are cut, and their callers don't know whether they were done.
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

/// Who signs, and for whom tokens are.
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

/// How subscribers are kept level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchConfig {
    /// 100 ms to 10 s. Too high: a dead stream is noticed late. Too low: every watch costs a message and every
    /// namespace a signature, that often.
    pub heartbeat_interval: Duration,
    /// 100 ms to 60 s. Too high: who lost a role, or whose token ended, keeps the watch that much longer. Too low: every
    /// watch costs work that often.
    pub recheck_interval: Duration,
    /// 50 ms to 1 s. Too high: changes made at another replica arrive late. Too low:
    /// idle replicas load the database.
    pub poll_interval: Duration,
    /// Whether PostgreSQL tells replicas of each other's changes. Without it they arrive one `poll_interval` late at most.
    pub listen_notify: bool,
    /// Per namespace. Too high: memory. Too low: a subscriber that pauses shortly is served from the database.
    pub ring_events: usize,
    /// At this server. Too high: memory. Too low: subscribers are refused with `TOO_MANY_STREAMS`.
    pub max_streams: usize,
    /// From the check of one log to that of the next, 0 (no checks) to 24 h; nine times as long as the check took, if that
    /// is more. Too high: an edited row is noticed late. Too low: a tenth of a core is always busy.
    pub audit_interval: Duration,
}

/// What operators see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Directives of `EnvFilter`; they parse.
    pub log_level: String,
    /// Collector of traces; none, no traces.
    pub otlp_endpoint: Option<ConnectionUrl>,
}

impl Settings {
    /// Fills in defaults and checks every value; the first that can't be used is the error.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let data_dir = given_path(self.data_dir.clone()).unwrap_or_else(|| DATA_DIR.into());
        Ok(Config {
            listen: self.listen()?,
            connections: self.connections()?,
            auth: self.auth()?,
            keys: KeysConfig {
                keys_dir: given_path(self.keys_dir.clone()).unwrap_or_else(|| data_dir.join("keys")),
                extra_keys_dirs: self
                    .extra_keys_dirs
                    .clone()
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|dir| given_path(Some(dir)))
                    .collect(),
                publish_before_use: milliseconds(
                    "key_publish_before_use_ms",
                    self.key_publish_before_use_ms.unwrap_or(KEY_PUBLISH_BEFORE_USE_MS),
                    0..=KEY_PUBLISH_BEFORE_USE_MAX_MS,
                )?,
                signing_algorithm: self.signing_algorithm.unwrap_or(SigningAlgorithm::EdDSA),
                token_audience: given(self.token_audience.clone()).unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned()),
            },
            watch: WatchConfig {
                heartbeat_interval: milliseconds(
                    "heartbeat_interval_ms",
                    self.heartbeat_interval_ms.unwrap_or(HEARTBEAT_INTERVAL_MS),
                    100..=10_000,
                )?,
                recheck_interval: milliseconds(
                    "recheck_interval_ms",
                    self.recheck_interval_ms.unwrap_or(RECHECK_INTERVAL_MS),
                    100..=60_000,
                )?,
                poll_interval: milliseconds(
                    "poll_interval_ms",
                    self.poll_interval_ms.unwrap_or(POLL_INTERVAL_MS),
                    50..=1_000,
                )?,
                listen_notify: self.listen_notify.unwrap_or(true),
                ring_events: in_range(
                    "watch_ring_events",
                    self.watch_ring_events.unwrap_or(WATCH_RING_EVENTS),
                    16..=65_536,
                )?,
                max_streams: in_range(
                    "max_watch_streams",
                    self.max_watch_streams.unwrap_or(MAX_WATCH_STREAMS),
                    1..=1_000_000,
                )?,
                audit_interval: milliseconds(
                    "audit_interval_ms",
                    self.audit_interval_ms.unwrap_or(AUDIT_INTERVAL_MS),
                    0..=86_400_000,
                )?,
            },
            quotas: self.quotas()?,
            telemetry: self.telemetry()?,
            storage: StorageConfig {
                database_url: database_url(self.database_url, &data_dir)?,
                listen_url: listen_url(self.listen_url)?,
                migrate: self.migrate.unwrap_or(true),
                data_dir,
            },
        })
    }

    fn listen(&self) -> Result<ListenConfig, ConfigError> {
        let tls = match (given_path(self.tls_cert.clone()), given_path(self.tls_key.clone())) {
            (Some(cert), Some(key)) => {
                let allow_invalid_time = self.tls_allow_invalid_time.unwrap_or(false);
                Some(TlsConfig { cert, key, allow_invalid_time })
            }
            (None, None) => None,
            (Some(_), None) => return Err(invalid("tls_key", "is needed with tls_cert")),
            (None, Some(_)) => return Err(invalid("tls_cert", "is needed with tls_key")),
        };
        let grpc_addr = self.grpc_addr.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], GRPC_PORT)));
        let http_addr = self.http_addr.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], HTTP_PORT)));
        let insecure_plaintext = self.insecure_plaintext.unwrap_or(false);
        // Canonical, because ::ffff:127.0.0.1 is loopback too.
        if tls.is_none() && !insecure_plaintext && !grpc_addr.ip().to_canonical().is_loopback() {
            return Err(invalid(
                "grpc_addr",
                format!(
                    "{grpc_addr} is not loopback and there is no TLS, so tokens would cross the network in plaintext; \
                     set tls_cert and tls_key, or listen on 127.0.0.1, or, behind something that ends TLS, set \
                     insecure_plaintext"
                ),
            ));
        }
        if grpc_addr == http_addr && grpc_addr.port() != 0 {
            return Err(invalid("http_addr", format!("{http_addr} is grpc_addr already; give it another port")));
        }
        Ok(ListenConfig {
            grpc_addr,
            http_addr,
            tls,
            insecure_plaintext,
            reflection: self.reflection.unwrap_or(true),
            drain_timeout: milliseconds(
                "drain_timeout_ms",
                self.drain_timeout_ms.unwrap_or(DRAIN_TIMEOUT_MS),
                0..=DRAIN_TIMEOUT_MAX_MS,
            )?,
            max_content_bytes: in_range(
                "max_content_bytes",
                self.max_content_bytes.unwrap_or(CONTENT_MAX_BYTES),
                1..=CONTENT_MAX_BYTES,
            )?,
            max_in_flight_bytes: in_range(
                "max_in_flight_bytes",
                self.max_in_flight_bytes.unwrap_or(MAX_IN_FLIGHT_BYTES),
                IN_FLIGHT_MIN_BYTES..=IN_FLIGHT_MAX_BYTES,
            )?,
        })
    }

    fn telemetry(&self) -> Result<TelemetryConfig, ConfigError> {
        let log_level = given(self.log_level.clone()).unwrap_or_else(|| LOG_LEVEL.to_owned());
        check_log_level(&log_level)?;
        let otlp_endpoint =
            given_url(self.otlp_endpoint.clone()).or_else(|| given_url(self.otel_exporter_otlp_endpoint.clone()));
        if let Some(url) = &otlp_endpoint
            && !matches!(url.scheme(), Some("http" | "https"))
        {
            return Err(invalid("otlp_endpoint", "must begin with http:// or https://"));
        }
        Ok(TelemetryConfig { log_format: self.log_format.unwrap_or(LogFormat::Text), log_level, otlp_endpoint })
    }
}

fn invalid(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key, problem: problem.into() }
}

/// A lone word that is no level would be taken as the name of a module, and `inof` would silence everything else.
fn check_log_level(directives: &str) -> Result<(), ConfigError> {
    let problem = |detail: String| invalid("log_level", format!("is not a level or filter directives: {detail}"));
    for word in directives.split(',').filter(|part| !part.contains(['=', '['])) {
        word.trim().parse::<LevelFilter>().map_err(|_| problem(format!("{word:?} is not a level")))?;
    }
    EnvFilter::builder().parse(directives).map(|_| ()).map_err(|error| problem(error.to_string()))
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn given_path(path: Option<PathBuf>) -> Option<PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

fn given_url(url: Option<ConnectionUrl>) -> Option<ConnectionUrl> {
    url.filter(|url| !url.expose().is_empty())
}

pub(super) fn in_range<T: PartialOrd + Display>(
    key: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<T, ConfigError> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(invalid(key, format!("{value} is not from {} to {}", range.start(), range.end())))
    }
}

pub(super) fn milliseconds(key: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<Duration, ConfigError> {
    in_range(key, value, range).map(Duration::from_millis)
}

fn listen_url(url: Option<ConnectionUrl>) -> Result<Option<ConnectionUrl>, ConfigError> {
    match given_url(url) {
        Some(url) if !matches!(url.scheme(), Some("postgres" | "postgresql")) => {
            Err(invalid("listen_url", "must begin with postgres:// or postgresql://"))
        }
        url => {
            url.iter().try_for_each(|url| postgres_url::check("listen_url", url))?;
            Ok(url)
        }
    }
}

fn database_url(url: Option<ConnectionUrl>, data_dir: &Path) -> Result<ConnectionUrl, ConfigError> {
    if let Some(url) = given_url(url) {
        return match url.scheme() {
            Some("sqlite") => Ok(url),
            Some("postgres" | "postgresql") => postgres_url::check("database_url", &url).map(|()| url),
            // Not repeated, not even its scheme: text that is no URL may be a password.
            _ => Err(invalid("database_url", "must begin with sqlite://, postgres:// or postgresql://")),
        };
    }
    let file = data_dir.join("policyhub.db");
    let file = file.to_str().ok_or_else(|| invalid("data_dir", "is not UTF-8; set database_url as well"))?;
    // The reader of the URL decodes it, and ends the path at `?`.
    let encoded = file.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Ok(ConnectionUrl::new(format!("sqlite://{encoded}")))
}
