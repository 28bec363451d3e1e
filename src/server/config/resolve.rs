//! Resolves settings into the configuration: defaults, ranges, and the rules between keys.
//!
//! Pure: it opens no file and no socket, so `config check` is safe anywhere.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::connection_url::ConnectionUrl;
use super::console_addr::ConsoleAddr;
use super::effective::{
    Config, ConsoleConfig, KeysConfig, ListenConfig, StorageConfig, TelemetryConfig, TlsConfig, WatchConfig,
};
use super::error::ConfigError;
use super::postgres_url;
use super::range::{in_range, invalid, milliseconds};
use super::settings::{LogFormat, Settings, SigningAlgorithm};
use super::sign_in::{check_sign_in, console_url};
use crate::auth::issuer::DEFAULT_AUDIENCE;
use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::grpc::{IN_FLIGHT_MAX_BYTES, IN_FLIGHT_MIN_BYTES};

/// The default data directory.
pub const DATA_DIR: &str = "./policyhub-data";
/// The default gRPC port.
pub const GRPC_PORT: u16 = 7070;
const HTTP_PORT: u16 = 7071;
/// The default port of the console.
pub const CONSOLE_PORT: u16 = 7072;
const HEARTBEAT_INTERVAL_MS: u64 = 10_000;
const RECHECK_INTERVAL_MS: u64 = 30_000;
const POLL_INTERVAL_MS: u64 = 1_000;
const AUDIT_INTERVAL_MS: u64 = 10_000;
const DRAIN_TIMEOUT_MS: u64 = 20_000;
/// At most 22 s, since closing the database and sending the last traces follow, and all of it must fit into 30 s.
const DRAIN_TIMEOUT_MAX_MS: u64 = 22_000;
const WATCH_RING_EVENTS: usize = 1_024;
const MAX_WATCH_RING_BYTES: usize = 128 * 1024 * 1024;
const MAX_WATCH_STREAMS: usize = 20_000;
/// 1 h: a verifier that caches keys for that long knows each one before it signs.
const KEY_PUBLISH_BEFORE_USE_MS: u64 = 60 * 60 * 1_000;
/// 30 days.
const KEY_PUBLISH_BEFORE_USE_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
const MAX_IN_FLIGHT_BYTES: u64 = 256 * 1024 * 1024;
const LOG_LEVEL: &str = "info";

impl Settings {
    /// Reads the file that `--config` names, if any, and returns the configuration.
    pub fn load(self) -> Result<Config, ConfigError> {
        match self.config.clone().filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => self.merge(Self::read(&path)?).resolve(),
            None => self.resolve(),
        }
    }

    /// Fills in defaults and checks every value; returns the first error.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let data_dir = given_path(self.data_dir.clone()).unwrap_or_else(|| DATA_DIR.into());
        let database_url = database_url(self.database_url.clone(), &data_dir)?;
        Ok(Config {
            listen: self.listen_with_sign_in(database_url.scheme() == Some("sqlite"))?,
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
            watch: self.watch()?,
            quotas: self.quotas()?,
            telemetry: self.telemetry()?,
            storage: StorageConfig {
                database_url,
                listen_url: listen_url(self.listen_url)?,
                migrate: self.migrate.unwrap_or(true),
                data_dir,
            },
        })
    }

    fn watch(&self) -> Result<WatchConfig, ConfigError> {
        let heartbeat_interval = milliseconds(
            "heartbeat_interval_ms",
            self.heartbeat_interval_ms.unwrap_or(HEARTBEAT_INTERVAL_MS),
            100..=10_000,
        )?;
        let recheck_interval =
            milliseconds("recheck_interval_ms", self.recheck_interval_ms.unwrap_or(RECHECK_INTERVAL_MS), 100..=60_000)?;
        Ok(WatchConfig {
            // A heartbeat is what wakes a watch to be checked again.
            heartbeat_interval: heartbeat_interval.min(recheck_interval),
            recheck_interval,
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
            max_ring_bytes: in_range(
                "max_watch_ring_bytes",
                self.max_watch_ring_bytes.unwrap_or(MAX_WATCH_RING_BYTES),
                1024 * 1024..=64 * 1024 * 1024 * 1024,
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
        })
    }

    /// Returns where the console listens. By default it is there where one person runs a server on one machine.
    fn console(&self, is_embedded: bool) -> Option<ConsoleConfig> {
        match self.console_addr {
            Some(ConsoleAddr::Off) => None,
            Some(ConsoleAddr::At(addr)) => Some(ConsoleConfig { addr, is_named: true }),
            None if !is_embedded => None,
            None => Some(ConsoleConfig { addr: SocketAddr::from(([127, 0, 0, 1], CONSOLE_PORT)), is_named: false }),
        }
    }

    /// Returns where the server listens, once it is sure that identity providers can send people there.
    fn listen_with_sign_in(&self, is_embedded: bool) -> Result<ListenConfig, ConfigError> {
        let listen = self.listen(is_embedded)?;
        check_sign_in(&listen, &self.auth()?)?;
        Ok(listen)
    }

    fn listen(&self, is_embedded: bool) -> Result<ListenConfig, ConfigError> {
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
        let console = self.console(is_embedded);
        if tls.is_none() && !insecure_plaintext {
            check_plaintext("grpc_addr", grpc_addr)?;
            console.map_or(Ok(()), |console| check_plaintext("console_addr", console.addr))?;
        }
        if let Some(ConsoleConfig { addr, is_named: true }) = console
            && addr.port() != 0
            && [grpc_addr, http_addr].contains(&addr)
        {
            return Err(invalid("console_addr", format!("{addr} is grpc_addr or http_addr; give it another port")));
        }
        if grpc_addr == http_addr && grpc_addr.port() != 0 {
            return Err(invalid("http_addr", format!("{http_addr} is grpc_addr already; give it another port")));
        }
        Ok(ListenConfig {
            grpc_addr,
            http_addr,
            console,
            console_url: given(self.console_url.clone()).map(console_url).transpose()?,
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

/// Refuses an address to which tokens would come in plaintext over a network.
fn check_plaintext(key: &'static str, addr: SocketAddr) -> Result<(), ConfigError> {
    // Canonical, because ::ffff:127.0.0.1 is loopback too.
    if addr.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(invalid(
        key,
        format!(
            "{addr} is not loopback and there is no TLS, so tokens would cross the network in plaintext; set tls_cert and \
             tls_key, or listen on 127.0.0.1, or, behind something that ends TLS, set insecure_plaintext"
        ),
    ))
}

/// Refuses a single word that is no level: it would count as the name of a module, so that `inof` disables all other logs.
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
            // The value is not repeated, not even its scheme: text that is no URL may be a password.
            _ => Err(invalid("database_url", "must begin with sqlite://, postgres:// or postgresql://")),
        };
    }
    let file = data_dir.join("policyhub.db");
    let file = file.to_str().ok_or_else(|| invalid("data_dir", "is not UTF-8; set database_url as well"))?;
    // The code that reads the URL decodes it, and ends the path at `?`.
    let encoded = file.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    Ok(ConnectionUrl::new(format!("sqlite://{encoded}")))
}
