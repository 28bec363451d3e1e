//! Checks the URL of a PostgreSQL: known parameters, each once, and nothing that could be a part of a password.
//!
//! The driver logs an unknown parameter with its value. Therefore every unknown parameter is refused here, and no error repeats
//! what may be a secret. The checks read the raw text and not a parsed URL: a URL parser accepts what they refuse (a stray `%`, a
//! second `@`, an encoded parameter name), and would hide that a password was split.

use super::connection_url::{ConnectionUrl, has_stray_percent};
use super::error::ConfigError;

/// The parameters that the driver knows, each with the common name of its spellings.
const PARAMETERS: &[(&str, &str)] = &[
    ("sslmode", "sslmode"),
    ("ssl-mode", "sslmode"),
    ("sslrootcert", "sslrootcert"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("sslcert", "sslcert"),
    ("ssl-cert", "sslcert"),
    ("sslkey", "sslkey"),
    ("ssl-key", "sslkey"),
    ("host", "host"),
    ("hostaddr", "host"),
    ("port", "port"),
    ("dbname", "dbname"),
    ("user", "user"),
    ("password", "password"),
    ("application_name", "application_name"),
    ("statement-cache-capacity", "statement-cache-capacity"),
    ("options", "options"),
];
/// The parameters that libpq knows and the driver does not. An error may name them, because no password looks like one.
const ELSEWHERE: &[&str] = &[
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "passfile",
    "requirepeer",
    "require_auth",
    "service",
    "sslcompression",
    "sslcrl",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslnegotiation",
    "sslpassword",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
];
/// The values of `sslmode`.
const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Refuses a URL that the driver would read differently than intended.
pub(super) fn check(key: &'static str, url: &ConnectionUrl) -> Result<(), ConfigError> {
    let refused = |problem: String| Err(ConfigError::Invalid { key, problem });
    let Some((_, rest)) = url.expose().split_once("://") else { return Ok(()) };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = place.split_once('/').unwrap_or((place, ""));
    // A password with an unescaped character of these is cut there, and its rest is read as the name of a host or a database.
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.contains(',') {
        let problem =
            "names several hosts: give one; a name or a proxy that leads to the current primary may stand for several";
        return refused(problem.to_owned());
    }
    let is_split = rest.contains('#')
        || authority.matches('@').count() > 1
        || user.matches(':').count() > 1
        || authority.contains(' ')
        || has_stray_percent(rest)
        || name.contains(['/', '@', ':', ';', '=']);
    if is_split {
        return refused(
            "must be postgres://user:password@host:port/name, with #, %, /, :, ;, =, ?, @ and spaces inside each part \
             percent-encoded"
                .to_owned(),
        );
    }
    if !has_port_in_range(host) {
        // Without a host, a password is at the position of the port.
        return refused("has a port that is not a number from 1 to 65535; it is not repeated here".to_owned());
    }
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if is_server_setting(name) {
            continue;
        }
        let Some((_, parameter)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
            return refused(unknown(name));
        };
        if seen.iter().any(|(seen, _)| seen == parameter) {
            return refused(format!("has the parameter {parameter} twice"));
        }
        seen.push((parameter, value));
    }
    let value_of = |parameter: &str| seen.iter().find(|(seen, _)| *seen == parameter).map(|(_, value)| *value);
    let mode = value_of("sslmode");
    let is_mode = |mode: &str| SSL_MODES.iter().any(|known| known.eq_ignore_ascii_case(mode));
    if mode.is_some_and(|mode| !is_mode(mode)) {
        return refused(format!("has an sslmode that is not one of {}", SSL_MODES.join(", ")));
    }
    let verifies = |mode: &str| mode.to_ascii_lowercase().starts_with("verify-");
    // Without a mode the driver prefers encryption, and verifies nothing.
    if value_of("sslrootcert").is_some() && !mode.is_some_and(verifies) {
        return refused("has sslrootcert with an sslmode that verifies nothing: use sslmode=verify-full".to_owned());
    }
    Ok(())
}

/// Returns whether the text after the host is a valid port, or empty.
fn has_port_in_range(host: &str) -> bool {
    let port = match host.split_once(']') {
        Some((_, after)) => after.strip_prefix(':'),
        None => host.split_once(':').map(|(_, port)| port),
    };
    port.is_none_or(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Returns whether a parameter is `options[name]=value`: a setting of the session, with any name.
fn is_server_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("options").is_some_and(|rest| {
        (rest.starts_with('[') && rest.ends_with(']')) || (rest.starts_with("%5b") && rest.ends_with("%5d"))
    })
}

/// Returns the error for an unknown parameter. Its name is repeated only when it can't be a secret: after a `?` that was not
/// percent-encoded, the rest of a password would be at this position.
fn unknown(name: &str) -> String {
    let plain = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let known = PARAMETERS.iter().map(|(known, _)| *known).find(|known| plain(known) == plain(name));
    if let Some(known) = known {
        return format!("has the unknown parameter {name}: write it {known}");
    }
    if let Some(elsewhere) = ELSEWHERE.iter().find(|elsewhere| **elsewhere == name) {
        return format!("has the parameter {elsewhere}, which this server does not support: leave it out");
    }
    let mut names: Vec<&str> = PARAMETERS.iter().map(|(_, parameter)| *parameter).collect();
    names.dedup();
    format!(
        "has a parameter that is not known and not repeated here, since it may be a part of a password that is not \
         percent-encoded; known are {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(url: &str) -> Result<(), String> {
        check("database_url", &ConnectionUrl::new(url)).map_err(|error| format!("{error} {error:?}"))
    }

    #[test]
    fn urls_that_the_driver_reads_as_they_are_meant() {
        for url in [
            "postgres://db/hub",
            "postgres://hub@db:5432/hub",
            "postgresql://hub:s3cr%23t@db/hub?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://db/hub?user=hub&password=can@ry&application_name=a",
            "postgres://%2Frun%2Fpostgresql/hub",
            "postgres:///hub?host=/run/postgresql",
            "postgres://db/hub?ssl-mode=VERIFY-CA&sslcert=c&sslkey=k",
            "postgres://db/hub?options=-c%20search_path=x&options[work_mem]=8MB&options%5Bgeqo%5D=off",
            "postgres://[::1]:5432/hub",
            "postgres://db/hub?",
        ] {
            assert_eq!(checked(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_and_what_may_be_secret_is_not_repeated() {
        for (url, says) in [
            ("postgres://db/hub?sslMode=verify-full", "sslMode: write it sslmode"),
            ("postgres://db/hub?ssl_mode=verify-full", "ssl_mode: write it sslmode"),
            ("postgres://db/hub?sslpassword=canary", "sslpassword"),
            ("postgres://db/hub?connect_timeout=3", "connect_timeout"),
            ("postgres://db/hub?Password=canary", "Password: write it password"),
            ("postgres://db/hub?canary=1", "known are sslmode"),
            ("postgres://db/hub?pass%77ord=canary", "not repeated"),
            ("postgres://db/hub?sslmode=canary", "verify-full"),
            ("postgres://db/hub?sslmode=disable&sslmode=verify-full", "sslmode twice"),
            ("postgres://db/hub?sslmode=disable&ssl-mode=verify-full", "sslmode twice"),
            ("postgres://db/hub?sslmode=require&sslrootcert=ca.pem", "verifies nothing"),
            ("postgres://db/hub?sslrootcert=ca.pem", "verifies nothing"),
            ("postgres://hub:canary@a:5432,b:5432/hub", "several hosts"),
            ("postgres://hub:can%-canary@db/hub", "percent-encoded"),
            ("postgres://hub:can:canary@db/hub", "percent-encoded"),
            ("postgres://hub:can canary@db/hub", "percent-encoded"),
            ("postgres://hub:canary/hub", "port that is not a number"),
            ("postgres://hub@db:canary/hub", "port that is not a number"),
            ("postgres://hub@db:65536/hub", "port that is not a number"),
            ("postgres://hub@[::1]:canary/hub", "port that is not a number"),
            ("postgres://hub:can?canary@db/hub", "not repeated"),
            ("postgres://hub:can#canary@db/hub", "percent-encoded"),
            ("postgres://hub:12/canary@db/hub", "percent-encoded"),
            ("postgres://hub:c@canary@db/hub", "percent-encoded"),
            ("postgres://db/hub#canary", "percent-encoded"),
            ("postgres://db/hub;password=canary", "percent-encoded"),
        ] {
            let error = checked(url).expect_err(url);
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("canary"), "{url}: {error}");
        }
    }
}
