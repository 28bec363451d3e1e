//! The settings as the operator wrote them: every key once, as flag, environment variable and file key.
//!
//! All fields are optional, because each source may leave a key out. A default here would hide the sources with lower precedence,
//! so defaults are in `resolve` alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::connection_url::ConnectionUrl;
use super::console_addr::ConsoleAddr;
use super::error::ConfigError;
use super::issuer_list::IssuerList;

/// Algorithm that bundles and statements are signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
pub enum SigningAlgorithm {
    /// Ed25519 (RFC 8037).
    #[value(name = "EdDSA")]
    EdDSA,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    #[value(name = "ES256")]
    ES256,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The keys. A flag is its key with dashes, a variable its key in upper case after `POLICYHUB_`. Empty text is the same
/// as not said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// TOML file with any of the keys below; flags and environment win over it
    #[arg(long, env = "POLICYHUB_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Directory of the embedded database, the keys and the admin token [default: ./policyhub-data]
    #[arg(long, env = "POLICYHUB_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// sqlite://… or postgres://… [default: policyhub.db in the data directory]
    #[arg(long, env = "POLICYHUB_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<ConnectionUrl>,

    /// PostgreSQL for LISTEN, when database_url leads to a pooler that would lose it [default: database_url]
    #[arg(long, env = "POLICYHUB_LISTEN_URL", value_name = "URL", hide_env_values = true)]
    pub listen_url: Option<ConnectionUrl>,

    /// Bring the database to this version's schema when serving [default: true]
    #[arg(long, env = "POLICYHUB_MIGRATE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub migrate: Option<bool>,

    /// Address of gRPC; port 0 takes a free one [default: 127.0.0.1:7070]
    #[arg(long, env = "POLICYHUB_GRPC_ADDR", value_name = "IP:PORT")]
    pub grpc_addr: Option<SocketAddr>,

    /// Address of health, metrics and JWKS, always plaintext; port 0 takes a free one [default: 127.0.0.1:7071]
    #[arg(long, env = "POLICYHUB_HTTP_ADDR", value_name = "IP:PORT")]
    pub http_addr: Option<SocketAddr>,

    /// Address of the web console, with TLS when gRPC has it; port 0 takes a free one, `off` turns it off [default: 127.0.0.1:7072
    /// with the embedded database, off with PostgreSQL]
    #[arg(long, env = "POLICYHUB_CONSOLE_ADDR", value_name = "IP:PORT")]
    pub console_addr: Option<ConsoleAddr>,

    /// Address at which browsers reach the console, as in `https://hub.example.com`: identity providers send people back there. Needed
    /// beyond loopback with an issuer that has client_id
    #[arg(long, env = "POLICYHUB_CONSOLE_URL", value_name = "URL")]
    pub console_url: Option<String>,

    /// PEM certificate chain for gRPC and the console; needs tls_key
    #[arg(long, env = "POLICYHUB_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// PEM private key for gRPC and the console; needs tls_cert
    #[arg(long, env = "POLICYHUB_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Start also with a certificate that has expired or is not valid yet [default: false]
    #[arg(long, env = "POLICYHUB_TLS_ALLOW_INVALID_TIME", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub tls_allow_invalid_time: Option<bool>,

    /// Authorities of client certificates, by trust domain of their SPIFFE IDs; the same domain may come twice
    #[arg(long, env = "POLICYHUB_TLS_CLIENT_CA", value_name = "DOMAIN=FILE", value_delimiter = ',')]
    pub tls_client_ca: Option<Vec<String>>,

    /// Serve gRPC and the console without TLS beyond loopback: only behind something that ends TLS [default: false]
    #[arg(long, env = "POLICYHUB_INSECURE_PLAINTEXT", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub insecure_plaintext: Option<bool>,

    /// Answer gRPC reflection, to whoever reaches the port [default: true]
    #[arg(long, env = "POLICYHUB_REFLECTION", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub reflection: Option<bool>,

    /// How long open calls and watches may take to end at shutdown, at most 22000 [default: 20000]
    #[arg(long, env = "POLICYHUB_DRAIN_TIMEOUT_MS", value_name = "MS")]
    pub drain_timeout_ms: Option<u64>,

    /// Connections of gRPC at once; further ones are closed at once [default: 20000]
    #[arg(long, env = "POLICYHUB_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<usize>,

    /// Age at which a connection of gRPC is ended, 100 to 86400000, give or take a tenth [default: 1800000]
    #[arg(long, env = "POLICYHUB_MAX_CONNECTION_AGE_MS", value_name = "MS")]
    pub max_connection_age_ms: Option<u64>,

    /// How long a client may take for TLS and its first bytes, 50 to 30000 [default: 5000]
    #[arg(long, env = "POLICYHUB_HANDSHAKE_TIMEOUT_MS", value_name = "MS")]
    pub handshake_timeout_ms: Option<u64>,

    /// Silence after which a client is pinged, 50 to 300000 [default: 30000]
    #[arg(long, env = "POLICYHUB_KEEPALIVE_INTERVAL_MS", value_name = "MS")]
    pub keepalive_interval_ms: Option<u64>,

    /// How long the answer to a ping may take, 50 to 60000 [default: 20000]
    #[arg(long, env = "POLICYHUB_KEEPALIVE_TIMEOUT_MS", value_name = "MS")]
    pub keepalive_timeout_ms: Option<u64>,

    /// How long the peer of a stream may take nothing of it, 50 to 300000 [default: 30000]
    #[arg(long, env = "POLICYHUB_STUCK_READER_TIMEOUT_MS", value_name = "MS")]
    pub stuck_reader_timeout_ms: Option<u64>,

    /// Age at which a connection ends on which no call was authenticated, 100 to 60000 [default: 60000]
    #[arg(long, env = "POLICYHUB_UNIDENTIFIED_CONNECTION_AGE_MS", value_name = "MS")]
    pub unidentified_connection_age_ms: Option<u64>,

    /// Largest content of a version, at most 1048576 [default: 1048576]
    #[arg(long, env = "POLICYHUB_MAX_CONTENT_BYTES", value_name = "BYTES")]
    pub max_content_bytes: Option<usize>,

    /// Memory of all requests in flight, and as much again of all answers, 33554432 to 2147483648 [default: 268435456]
    #[arg(long, env = "POLICYHUB_MAX_IN_FLIGHT_BYTES", value_name = "BYTES")]
    pub max_in_flight_bytes: Option<u64>,

    /// Directory of the signing keys [default: keys in the data directory]
    #[arg(long, env = "POLICYHUB_KEYS_DIR", value_name = "DIR")]
    pub keys_dir: Option<PathBuf>,

    /// Further directories of signing keys, as mounted Secrets; in a variable separated by commas
    #[arg(long, env = "POLICYHUB_EXTRA_KEYS_DIRS", value_name = "DIR", value_delimiter = ',')]
    pub extra_keys_dirs: Option<Vec<PathBuf>>,

    /// How long a new signing key is public before it may sign, at most 2592000000 [default: 3600000]
    #[arg(long, env = "POLICYHUB_KEY_PUBLISH_BEFORE_USE_MS", value_name = "MS")]
    pub key_publish_before_use_ms: Option<u64>,

    /// Algorithm of the first signing key of a new store [default: EdDSA]
    #[arg(long, env = "POLICYHUB_SIGNING_ALGORITHM", value_name = "ALG")]
    pub signing_algorithm: Option<SigningAlgorithm>,

    /// Audience (`aud`) that access tokens must be for [default: policyhub]
    #[arg(long, env = "POLICYHUB_TOKEN_AUDIENCE", value_name = "TEXT")]
    pub token_audience: Option<String>,

    /// How far the clocks of issuers and of this server may differ, 0 to 60 [default: 5]
    #[arg(long, env = "POLICYHUB_CLOCK_LEEWAY_SECONDS", value_name = "SECONDS")]
    pub clock_leeway_seconds: Option<u8>,

    /// Identity providers whose tokens are taken; in the file one table `issuers` for each
    #[arg(long, env = "POLICYHUB_ISSUERS", value_name = "JSON")]
    pub issuers: Option<IssuerList>,

    /// Time between heartbeats of a watch, 100 to 10000, at most that of rechecks [default: 10000]
    #[arg(long, env = "POLICYHUB_HEARTBEAT_INTERVAL_MS", value_name = "MS")]
    pub heartbeat_interval_ms: Option<u64>,

    /// Time between questions whether the caller of a watch still may have it, 100 to 60000 [default: 30000]
    #[arg(long, env = "POLICYHUB_RECHECK_INTERVAL_MS", value_name = "MS")]
    pub recheck_interval_ms: Option<u64>,

    /// Time between looks for other replicas' changes, 50 to 1000 [default: 1000]
    #[arg(long, env = "POLICYHUB_POLL_INTERVAL_MS", value_name = "MS")]
    pub poll_interval_ms: Option<u64>,

    /// Have PostgreSQL tell replicas of each other's changes; without it they look [default: true]
    #[arg(long, env = "POLICYHUB_LISTEN_NOTIFY", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub listen_notify: Option<bool>,

    /// Events each namespace keeps in memory for watches, 16 to 65536 [default: 1024]
    #[arg(long, env = "POLICYHUB_WATCH_RING_EVENTS", value_name = "COUNT")]
    pub watch_ring_events: Option<usize>,

    /// Memory of what all namespaces keep for watches, 1 MiB to 64 GiB [default: 134217728]
    #[arg(long, env = "POLICYHUB_MAX_WATCH_RING_BYTES", value_name = "BYTES")]
    pub max_watch_ring_bytes: Option<usize>,

    /// Namespaces watched at this server at once: a watch of several counts once for each [default: 20000]
    #[arg(long, env = "POLICYHUB_MAX_WATCH_STREAMS", value_name = "COUNT")]
    pub max_watch_streams: Option<usize>,

    /// Policies of a namespace that has no quota of its own; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_NAMESPACE_MAX_POLICIES", value_name = "COUNT")]
    pub namespace_max_policies: Option<i64>,

    /// Versions of such a namespace; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_NAMESPACE_MAX_VERSIONS", value_name = "COUNT")]
    pub namespace_max_versions: Option<i64>,

    /// Content of all versions of such a namespace; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_NAMESPACE_MAX_CONTENT_BYTES", value_name = "BYTES")]
    pub namespace_max_content_bytes: Option<i64>,

    /// Watches of such a namespace, at this server; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_NAMESPACE_MAX_STREAMS", value_name = "COUNT")]
    pub namespace_max_streams: Option<u32>,

    /// Writes of such a namespace, at this server; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_NAMESPACE_WRITES_PER_SECOND", value_name = "COUNT")]
    pub namespace_writes_per_second: Option<u32>,

    /// Reads of such a namespace, at this server; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_NAMESPACE_READS_PER_SECOND", value_name = "COUNT")]
    pub namespace_reads_per_second: Option<u32>,

    /// Watches of one principal, at this server; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_PRINCIPAL_MAX_STREAMS", value_name = "COUNT")]
    pub principal_max_streams: Option<u32>,

    /// Subscriber ids of one principal in one namespace, at this server; 0: no limit [default: 1000]
    #[arg(long, env = "POLICYHUB_PRINCIPAL_MAX_SUBSCRIBERS", value_name = "COUNT")]
    pub principal_max_subscribers: Option<u32>,

    /// Writes of one principal, at this server; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_PRINCIPAL_WRITES_PER_SECOND", value_name = "COUNT")]
    pub principal_writes_per_second: Option<u32>,

    /// Reads of one principal, at this server; 0: no limit [default: 0]
    #[arg(long, env = "POLICYHUB_PRINCIPAL_READS_PER_SECOND", value_name = "COUNT")]
    pub principal_reads_per_second: Option<u32>,

    /// Time between checks of one log after the other, 0 (none) to 86400000 [default: 10000]
    #[arg(long, env = "POLICYHUB_AUDIT_INTERVAL_MS", value_name = "MS")]
    pub audit_interval_ms: Option<u64>,

    /// Form of log lines [default: text]
    #[arg(long, env = "POLICYHUB_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged: a level or filter directives, as in `info,policyhub=debug` [default: info]
    #[arg(long, env = "POLICYHUB_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,

    /// Collector of traces over OTLP gRPC; without it, OTEL_EXPORTER_OTLP_ENDPOINT; without both, none
    #[arg(long, env = "POLICYHUB_OTLP_ENDPOINT", value_name = "URL", hide_env_values = true)]
    pub otlp_endpoint: Option<ConnectionUrl>,

    /// The variable every OpenTelemetry program reads, below all sources of `otlp_endpoint`; no key of the file.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide = true, hide_env_values = true)]
    #[serde(skip)]
    pub otel_exporter_otlp_endpoint: Option<ConnectionUrl>,
}

impl Settings {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(path, &text)
    }

    /// Parses the text of a file; errors name `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
            ConfigError::Malformed {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                // Not the error's own Display: it quotes the line, which may hold a password.
                message: error.message().to_owned(),
            }
        })
    }

    /// Fills in from `file` what `self`, the flags and the environment, leaves open.
    #[must_use]
    pub fn merge(self, file: Self) -> Self {
        Self {
            config: self.config.or(file.config),
            data_dir: self.data_dir.or(file.data_dir),
            database_url: self.database_url.or(file.database_url),
            listen_url: self.listen_url.or(file.listen_url),
            migrate: self.migrate.or(file.migrate),
            grpc_addr: self.grpc_addr.or(file.grpc_addr),
            http_addr: self.http_addr.or(file.http_addr),
            console_addr: self.console_addr.or(file.console_addr),
            console_url: self.console_url.or(file.console_url),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            tls_allow_invalid_time: self.tls_allow_invalid_time.or(file.tls_allow_invalid_time),
            tls_client_ca: self.tls_client_ca.or(file.tls_client_ca),
            insecure_plaintext: self.insecure_plaintext.or(file.insecure_plaintext),
            reflection: self.reflection.or(file.reflection),
            drain_timeout_ms: self.drain_timeout_ms.or(file.drain_timeout_ms),
            max_connections: self.max_connections.or(file.max_connections),
            max_connection_age_ms: self.max_connection_age_ms.or(file.max_connection_age_ms),
            handshake_timeout_ms: self.handshake_timeout_ms.or(file.handshake_timeout_ms),
            keepalive_interval_ms: self.keepalive_interval_ms.or(file.keepalive_interval_ms),
            keepalive_timeout_ms: self.keepalive_timeout_ms.or(file.keepalive_timeout_ms),
            stuck_reader_timeout_ms: self.stuck_reader_timeout_ms.or(file.stuck_reader_timeout_ms),
            unidentified_connection_age_ms: self.unidentified_connection_age_ms.or(file.unidentified_connection_age_ms),
            max_content_bytes: self.max_content_bytes.or(file.max_content_bytes),
            max_in_flight_bytes: self.max_in_flight_bytes.or(file.max_in_flight_bytes),
            keys_dir: self.keys_dir.or(file.keys_dir),
            extra_keys_dirs: self.extra_keys_dirs.or(file.extra_keys_dirs),
            key_publish_before_use_ms: self.key_publish_before_use_ms.or(file.key_publish_before_use_ms),
            signing_algorithm: self.signing_algorithm.or(file.signing_algorithm),
            token_audience: self.token_audience.or(file.token_audience),
            clock_leeway_seconds: self.clock_leeway_seconds.or(file.clock_leeway_seconds),
            issuers: self.issuers.or(file.issuers),
            heartbeat_interval_ms: self.heartbeat_interval_ms.or(file.heartbeat_interval_ms),
            recheck_interval_ms: self.recheck_interval_ms.or(file.recheck_interval_ms),
            poll_interval_ms: self.poll_interval_ms.or(file.poll_interval_ms),
            listen_notify: self.listen_notify.or(file.listen_notify),
            watch_ring_events: self.watch_ring_events.or(file.watch_ring_events),
            max_watch_ring_bytes: self.max_watch_ring_bytes.or(file.max_watch_ring_bytes),
            max_watch_streams: self.max_watch_streams.or(file.max_watch_streams),
            namespace_max_policies: self.namespace_max_policies.or(file.namespace_max_policies),
            namespace_max_versions: self.namespace_max_versions.or(file.namespace_max_versions),
            namespace_max_content_bytes: self.namespace_max_content_bytes.or(file.namespace_max_content_bytes),
            namespace_max_streams: self.namespace_max_streams.or(file.namespace_max_streams),
            namespace_writes_per_second: self.namespace_writes_per_second.or(file.namespace_writes_per_second),
            namespace_reads_per_second: self.namespace_reads_per_second.or(file.namespace_reads_per_second),
            principal_max_streams: self.principal_max_streams.or(file.principal_max_streams),
            principal_max_subscribers: self.principal_max_subscribers.or(file.principal_max_subscribers),
            principal_writes_per_second: self.principal_writes_per_second.or(file.principal_writes_per_second),
            principal_reads_per_second: self.principal_reads_per_second.or(file.principal_reads_per_second),
            audit_interval_ms: self.audit_interval_ms.or(file.audit_interval_ms),
            log_format: self.log_format.or(file.log_format),
            log_level: self.log_level.or(file.log_level),
            otlp_endpoint: self.otlp_endpoint.or(file.otlp_endpoint),
            otel_exporter_otlp_endpoint: self.otel_exporter_otlp_endpoint.or(file.otel_exporter_otlp_endpoint),
        }
    }
}
