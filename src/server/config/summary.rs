//! Prints the configuration: every key, no password.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::connection_url::ConnectionUrl;
use super::effective::Config;
use super::settings::{LogFormat, SigningAlgorithm};

impl Config {
    /// Returns every key with its value, as in the file; passwords hidden. For `config check` and the first log line.
    #[must_use]
    pub fn summary(&self) -> Value {
        let path = |path: &Path| path.display().to_string();
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let Self { storage, listen, connections, keys, auth, watch, quotas, telemetry } = self;
        json!({
            "data_dir": path(&storage.data_dir),
            "database_url": storage.database_url.redacted(),
            "listen_url": storage.listen_url.as_ref().map(ConnectionUrl::redacted),
            "migrate": storage.migrate,
            "grpc_addr": listen.grpc_addr.to_string(),
            "http_addr": listen.http_addr.to_string(),
            "console_addr": listen.console.map_or_else(|| "off".to_owned(), |console| console.addr.to_string()),
            "console_url": listen.console_url,
            "tls_cert": listen.tls.as_ref().map(|tls| path(&tls.cert)),
            "tls_key": listen.tls.as_ref().map(|tls| path(&tls.key)),
            "tls_allow_invalid_time": listen.tls.as_ref().is_some_and(|tls| tls.allow_invalid_time),
            "tls_client_ca": auth.summary_of_client_cas(),
            "insecure_plaintext": listen.insecure_plaintext,
            "reflection": listen.reflection,
            "drain_timeout_ms": ms(listen.drain_timeout),
            "max_connections": connections.max_connections,
            "max_connection_age_ms": ms(connections.max_age),
            "handshake_timeout_ms": ms(connections.handshake_timeout),
            "keepalive_interval_ms": ms(connections.keepalive_interval),
            "keepalive_timeout_ms": ms(connections.keepalive_timeout),
            "stuck_reader_timeout_ms": ms(connections.stuck_reader_timeout),
            "unidentified_connection_age_ms": ms(connections.unidentified_age),
            "max_content_bytes": listen.max_content_bytes,
            "max_in_flight_bytes": listen.max_in_flight_bytes,
            "keys_dir": path(&keys.keys_dir),
            "extra_keys_dirs": keys.extra_keys_dirs.iter().map(|dir| path(dir)).collect::<Vec<_>>(),
            "key_publish_before_use_ms": ms(keys.publish_before_use),
            "signing_algorithm": match keys.signing_algorithm {
                SigningAlgorithm::EdDSA => "EdDSA",
                SigningAlgorithm::ES256 => "ES256",
            },
            "token_audience": keys.token_audience,
            "clock_leeway_seconds": auth.clock_leeway.seconds(),
            "issuers": auth.summary_of_issuers(),
            "heartbeat_interval_ms": ms(watch.heartbeat_interval),
            "recheck_interval_ms": ms(watch.recheck_interval),
            "poll_interval_ms": ms(watch.poll_interval),
            "listen_notify": watch.listen_notify,
            "watch_ring_events": watch.ring_events,
            "max_watch_ring_bytes": watch.max_ring_bytes,
            "max_watch_streams": watch.max_streams,
            "namespace_max_policies": quotas.namespace.max_policies,
            "namespace_max_versions": quotas.namespace.max_versions,
            "namespace_max_content_bytes": quotas.namespace.max_content_bytes,
            "namespace_max_streams": quotas.namespace.max_streams,
            "namespace_writes_per_second": quotas.namespace.writes_per_second,
            "namespace_reads_per_second": quotas.namespace.reads_per_second,
            "principal_max_streams": quotas.principal.max_streams,
            "principal_max_subscribers": quotas.principal.max_subscribers,
            "principal_writes_per_second": quotas.principal.writes_per_second,
            "principal_reads_per_second": quotas.principal.reads_per_second,
            "audit_interval_ms": ms(watch.audit_interval),
            "log_format": match telemetry.log_format {
                LogFormat::Json => "json",
                LogFormat::Text => "text",
            },
            "log_level": telemetry.log_level,
            "otlp_endpoint": telemetry.otlp_endpoint.as_ref().map(ConnectionUrl::redacted),
        })
    }
}
