//! Tests flags, file and defaults together, and compares the file in `config/` with all of them.
//!
//! No test changes the process environment: clap reads it between the two; the tests check that each key has its variable.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Args as _, Command, FromArgMatches as _};

use super::*;
use crate::domain::limits::CONTENT_MAX_BYTES;

const DEFAULT_FILE: &str = include_str!("../../../config/policyhub.default.toml");

fn command() -> Command {
    Settings::augment_args(Command::new("policyhub"))
}

fn flags(arguments: &[&str]) -> Settings {
    let arguments = std::iter::once("policyhub").chain(arguments.iter().copied());
    let matches = command().try_get_matches_from(arguments).expect("arguments");
    Settings::from_arg_matches(&matches).expect("settings")
}

fn file(text: &str) -> Settings {
    Settings::parse(Path::new("hub.toml"), text).expect("file")
}

fn refused(text: &str) -> String {
    let settings = Settings::parse(Path::new("hub.toml"), text);
    settings.and_then(Settings::resolve).expect_err("must be refused").to_string()
}

/// Returns the names of all keys: every visible flag but `--config`.
fn keys() -> BTreeSet<String> {
    let arguments = command();
    let visible = arguments.get_arguments().filter(|argument| !argument.is_hide_set());
    visible.map(|argument| argument.get_id().to_string()).filter(|id| id != "config").collect()
}

/// Returns the default file with its keys uncommented.
fn uncommented() -> String {
    let is_key = |line: &str| line.starts_with(|letter: char| letter.is_ascii_lowercase());
    let lines = DEFAULT_FILE.lines().map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = Settings::default().resolve().expect("defaults");
    assert_eq!(
        config.summary(),
        serde_json::json!({
            "data_dir": "./policyhub-data",
            "database_url": "sqlite://./policyhub-data/policyhub.db",
            "listen_url": null,
            "migrate": true,
            "grpc_addr": "127.0.0.1:7070",
            "http_addr": "127.0.0.1:7071",
            "console_addr": "127.0.0.1:7072",
            "console_url": null,
            "tls_cert": null,
            "tls_key": null,
            "tls_allow_invalid_time": false,
            "tls_client_ca": [],
            "insecure_plaintext": false,
            "reflection": true,
            "drain_timeout_ms": 20_000,
            "max_connections": 20_000,
            "max_connection_age_ms": 1_800_000,
            "handshake_timeout_ms": 5_000,
            "keepalive_interval_ms": 30_000,
            "keepalive_timeout_ms": 20_000,
            "stuck_reader_timeout_ms": 30_000,
            "unidentified_connection_age_ms": 60_000,
            "max_content_bytes": CONTENT_MAX_BYTES,
            "max_in_flight_bytes": 268_435_456,
            "keys_dir": "./policyhub-data/keys",
            "extra_keys_dirs": [],
            "key_publish_before_use_ms": 3_600_000,
            "signing_algorithm": "EdDSA",
            "token_audience": "policyhub",
            "clock_leeway_seconds": 5,
            "issuers": [],
            "heartbeat_interval_ms": 10_000,
            "recheck_interval_ms": 30_000,
            "poll_interval_ms": 1_000,
            "listen_notify": true,
            "watch_ring_events": 1_024,
            "max_watch_ring_bytes": 134_217_728,
            "max_watch_streams": 20_000,
            "namespace_max_policies": 0,
            "namespace_max_versions": 0,
            "namespace_max_content_bytes": 0,
            "namespace_max_streams": 0,
            "namespace_writes_per_second": 0,
            "namespace_reads_per_second": 0,
            "principal_max_streams": 0,
            "principal_max_subscribers": 1_000,
            "principal_writes_per_second": 0,
            "principal_reads_per_second": 0,
            "audit_interval_ms": 10_000,
            "log_format": "text",
            "log_level": "info",
            "otlp_endpoint": null,
        })
    );
}

#[test]
fn the_default_file_shows_every_key_with_its_default() {
    let text = uncommented();
    let table: toml::Table = text.parse().expect("TOML");
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), keys());
    let mut shown = file(&text).resolve().expect("valid");
    // An address that is named must be free; the default one may be taken, and is given up then.
    shown.listen.console.iter_mut().for_each(|console| console.is_named = false);
    assert_eq!(shown, Settings::default().resolve().expect("defaults"));
    assert_eq!(file(DEFAULT_FILE), Settings::default(), "as shipped, it says nothing");
}

#[test]
fn every_key_is_a_flag_a_variable_and_a_line_of_the_summary() {
    for argument in command().get_arguments().filter(|argument| !argument.is_hide_set()) {
        let id = argument.get_id().to_string();
        let variable = argument.get_env().and_then(|name| name.to_str()).map(str::to_owned);
        assert_eq!(variable, Some(format!("POLICYHUB_{}", id.to_uppercase())));
        assert_eq!(argument.get_long(), Some(id.replace('_', "-").as_str()));
    }
    let summary = Settings::default().resolve().expect("defaults").summary();
    assert_eq!(summary.as_object().expect("object").keys().cloned().collect::<BTreeSet<_>>(), keys());
}

#[test]
fn help_shows_no_url_from_the_environment() {
    for key in ["database_url", "listen_url", "otlp_endpoint", "otel_exporter_otlp_endpoint"] {
        let command = command();
        let argument = command.get_arguments().find(|argument| argument.get_id() == key).expect("key");
        assert!(argument.is_hide_env_values_set(), "{key}");
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let written = file("grpc_addr = '127.0.0.1:1'\nhttp_addr = '127.0.0.1:2'\nmigrate = false\nlog_format = 'json'");
    let config = flags(&["--grpc-addr", "127.0.0.1:9", "--migrate"]).merge(written).resolve().expect("valid");
    assert_eq!(config.listen.grpc_addr.port(), 9, "flag over file");
    assert!(config.storage.migrate, "flag over file");
    assert_eq!(config.listen.http_addr.port(), 2, "file over default");
    assert_eq!(config.telemetry.log_format, LogFormat::Json, "file over default");
    assert_eq!(config.watch.ring_events, 1_024, "default");
}

#[test]
fn merging_loses_no_key() {
    let full = Settings {
        config: Some("c".into()),
        otel_exporter_otlp_endpoint: Some(ConnectionUrl::new("http://o")),
        ..file(&uncommented())
    };
    assert!(!format!("{full:?}").contains("None"), "the test must set every field: {full:?}");
    assert_eq!(Settings::default().merge(full.clone()), full);
    assert_eq!(full.clone().merge(Settings::default()), full);
}

#[test]
fn switches_take_a_value_or_none() {
    assert_eq!(flags(&["--insecure-plaintext"]).insecure_plaintext, Some(true));
    assert_eq!(flags(&["--migrate=false"]).migrate, Some(false));
    assert_eq!(flags(&["--migrate=0"]).migrate, Some(false));
    assert_eq!(flags(&[]).migrate, None);
}

#[test]
fn the_file_named_by_the_flag_is_read() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("hub.toml");
    std::fs::write(&path, "poll_interval_ms = 50").expect("write");
    let named = flags(&["--config", path.to_str().expect("path")]);
    assert_eq!(named.load().expect("valid").watch.poll_interval.as_millis(), 50);
    let missing = directory.path().join("missing.toml");
    let error = flags(&["--config", missing.to_str().expect("path")]).load().expect_err("must be refused");
    assert!(error.to_string().contains("missing.toml"), "{error}");
}

#[test]
fn errors_of_the_file_name_file_line_and_key() {
    let unknown = refused("migrate = true\n\nheartbeat_ms = 5");
    assert!(unknown.starts_with("read config file hub.toml, line 3: unknown field `heartbeat_ms`"), "{unknown}");
    assert!(refused("config = 'other.toml'").contains("unknown field `config`"));
    assert!(refused("otel_exporter_otlp_endpoint = 'http://x'").contains("unknown field"));
    assert!(refused("migrate = 'yes'").contains("line 1"));
    assert!(refused("grpc_addr = 'localhost'").contains("socket address"));
    assert!(refused("[listen]\ngrpc_addr = '127.0.0.1:1'").contains("listen"));
    assert!(refused("migrate = true\nmigrate = true").contains("line 2"));
}

#[test]
fn values_out_of_range_are_refused_by_key() {
    for (text, key) in [
        ("heartbeat_interval_ms = 99", "heartbeat_interval_ms"),
        ("heartbeat_interval_ms = 10001", "heartbeat_interval_ms"),
        ("recheck_interval_ms = 99", "recheck_interval_ms"),
        ("recheck_interval_ms = 60001", "recheck_interval_ms"),
        ("clock_leeway_seconds = 61", "clock_leeway_seconds"),
        ("poll_interval_ms = 49", "poll_interval_ms"),
        ("poll_interval_ms = 1001", "poll_interval_ms"),
        ("drain_timeout_ms = 22001", "drain_timeout_ms"),
        ("watch_ring_events = 15", "watch_ring_events"),
        ("watch_ring_events = 65537", "watch_ring_events"),
        ("max_connections = 0", "max_connections"),
        ("max_connections = 1000001", "max_connections"),
        ("max_connection_age_ms = 99", "max_connection_age_ms"),
        ("max_connection_age_ms = 86400001", "max_connection_age_ms"),
        ("handshake_timeout_ms = 49", "handshake_timeout_ms"),
        ("handshake_timeout_ms = 30001", "handshake_timeout_ms"),
        ("keepalive_interval_ms = 49", "keepalive_interval_ms"),
        ("keepalive_interval_ms = 300001", "keepalive_interval_ms"),
        ("keepalive_timeout_ms = 49", "keepalive_timeout_ms"),
        ("keepalive_timeout_ms = 60001", "keepalive_timeout_ms"),
        ("stuck_reader_timeout_ms = 49", "stuck_reader_timeout_ms"),
        ("stuck_reader_timeout_ms = 300001", "stuck_reader_timeout_ms"),
        ("unidentified_connection_age_ms = 99", "unidentified_connection_age_ms"),
        ("unidentified_connection_age_ms = 60001", "unidentified_connection_age_ms"),
        ("max_watch_ring_bytes = 1048575", "max_watch_ring_bytes"),
        ("max_watch_ring_bytes = 68719476737", "max_watch_ring_bytes"),
        ("max_watch_streams = 0", "max_watch_streams"),
        ("max_watch_streams = 1000001", "max_watch_streams"),
        ("max_content_bytes = 0", "max_content_bytes"),
        ("max_in_flight_bytes = 33554431", "max_in_flight_bytes"),
        ("max_in_flight_bytes = 2147483649", "max_in_flight_bytes"),
        ("max_content_bytes = 1048577", "max_content_bytes"),
        ("namespace_max_policies = -1", "namespace_max_policies"),
        ("namespace_max_policies = 10001", "namespace_max_policies"),
        ("namespace_max_content_bytes = -1", "namespace_max_content_bytes"),
        ("principal_max_streams = 1000001", "principal_max_streams"),
        ("principal_max_subscribers = 1000001", "principal_max_subscribers"),
        ("principal_reads_per_second = 1000001", "principal_reads_per_second"),
        ("log_level = 'inof'", "log_level"),
        ("log_level = 'info,policyhub=loud'", "log_level"),
        ("otlp_endpoint = 'collector:4317'", "otlp_endpoint"),
        ("database_url = 'mysql://h/d'", "database_url"),
        ("database_url = './policyhub.db'", "database_url"),
        ("tls_cert = 'c.pem'", "tls_key"),
        ("tls_key = 'k.pem'", "tls_cert"),
        ("grpc_addr = '127.0.0.1:7071'", "http_addr"),
        ("console_addr = '127.0.0.1:7070'", "console_addr"),
        ("console_addr = '0.0.0.0:7072'", "console_addr"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(&format!("use config key {key}: ")), "{text} gives {error}");
    }
    assert!(refused("heartbeat_interval_ms = -1").contains("line 1"));
    assert!(refused("signing_algorithm = 'none'").contains("EdDSA"));
    assert!(refused("log_format = 'xml'").contains("json"));
}

#[test]
fn values_at_the_edge_are_taken() {
    let text = "heartbeat_interval_ms = 100\npoll_interval_ms = 50\ndrain_timeout_ms = 22000\nwatch_ring_events = 16\n\
                max_content_bytes = 1\nlog_level = 'warn,policyhub=debug,tower[span]=off'\ngrpc_addr = '127.0.0.1:0'\n\
                http_addr = '127.0.0.1:0'\nsigning_algorithm = 'ES256'\ndatabase_url = 'postgresql://h/d'";
    let config = file(text).resolve().expect("valid");
    assert_eq!(config.keys.signing_algorithm, SigningAlgorithm::ES256);
    assert_eq!(config.listen.max_content_bytes, 1);
}

#[test]
fn plaintext_stays_on_loopback() {
    for far in ["0.0.0.0:7070", "[::]:7070", "10.0.0.1:7070", "[::ffff:10.0.0.1]:7070"] {
        let error = refused(&format!("grpc_addr = '{far}'"));
        for advice in ["tls_cert and tls_key", "127.0.0.1", "insecure_plaintext"] {
            assert!(error.contains(advice), "{error} must say {advice}");
        }
        for allowed in ["insecure_plaintext = true", "tls_cert = 'c'\ntls_key = 'k'"] {
            file(&format!("grpc_addr = '{far}'\n{allowed}")).resolve().expect("allowed");
        }
    }
    for near in ["127.0.0.1:7070", "127.9.9.9:0", "[::1]:7070", "[::ffff:127.0.0.1]:7070"] {
        file(&format!("grpc_addr = '{near}'")).resolve().expect("loopback");
    }
}

#[test]
fn the_console_is_there_by_default_with_the_embedded_database_alone() {
    let console = |text: &str| file(text).resolve().expect("valid").listen.console;
    let by_default = console("").expect("a console");
    assert_eq!((by_default.addr.to_string().as_str(), by_default.is_named), ("127.0.0.1:7072", false));
    assert_eq!(console("database_url = 'postgres://h/d'"), None);
    assert_eq!(console("console_addr = 'off'"), None);
    let named = console("database_url = 'postgres://h/d'\nconsole_addr = '127.0.0.1:0'").expect("a console");
    assert!(named.is_named, "{named:?}");
    assert!(refused("console_addr = '7072'").contains("or off"));
}

#[test]
fn directories_follow_the_data_directory() {
    let config = flags(&["--data-dir", "/srv/hub 50%?"]).resolve().expect("valid");
    assert_eq!(config.storage.database_url.expose(), "sqlite:///srv/hub 50%25%3F/policyhub.db");
    assert_eq!(config.keys.keys_dir, Path::new("/srv/hub 50%?/keys"));
    let apart = flags(&["--data-dir", "/srv/hub", "--keys-dir", "/run/keys", "--database-url", "sqlite://x.db"]);
    let config = apart.resolve().expect("valid");
    assert_eq!(
        (config.storage.database_url.expose(), config.keys.keys_dir.to_str()),
        ("sqlite://x.db", Some("/run/keys"))
    );
}

#[test]
fn the_collector_of_opentelemetry_comes_last() {
    let standard = ConnectionUrl::new("http://standard:4317");
    let endpoint = |text: &str| {
        let settings = Settings { otel_exporter_otlp_endpoint: Some(standard.clone()), ..file(text) };
        settings.resolve().expect("valid").telemetry.otlp_endpoint
    };
    assert_eq!(endpoint(""), Some(standard.clone()));
    assert_eq!(endpoint("otlp_endpoint = ''"), Some(standard.clone()));
    assert_eq!(endpoint("otlp_endpoint = 'http://own:4317'"), Some(ConnectionUrl::new("http://own:4317")));
}

#[test]
fn no_output_holds_a_password() {
    let text = "database_url = 'postgres://hub:canary@db/hub'\notlp_endpoint = 'https://u:canary@c:4317'";
    let settings = file(text);
    let shown = format!("{settings:?}");
    let config = settings.resolve().expect("valid");
    assert!(config.storage.database_url.expose().contains("canary"), "the store gets the whole URL");
    for output in [shown, format!("{config:#?}"), config.summary().to_string()] {
        assert!(!output.contains("canary"), "{output}");
    }
    for text in [
        "database_url = 'postgres://hub:canary@db/hub",
        "database_url = 'mysql://hub:canary@db/hub'",
        "database_url = ['postgres://hub:canary@db/hub']",
        "database_url = 'hub:canary'",
        "otlp_endpoint = 'canary'",
    ] {
        let error = Settings::parse(Path::new("hub.toml"), text).and_then(Settings::resolve).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
