//! Warns when a connection to PostgreSQL crosses a network without verifying the server's identity.

use std::net::IpAddr;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Warns of a remote database whose certificate and name are not verified.
pub(in crate::store) fn warn_unverified(options: &PgConnectOptions, key: &'static str) {
    if is_remote(options) && !matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
        tracing::warn!(
            key,
            host = options.get_host(),
            sslmode = mode(options.get_ssl_mode()),
            "the database is remote and nothing proves who it is: whoever is on the way can read and change \
             everything, password included; use sslmode=verify-full"
        );
    }
}

/// Whether the server is reached over a network: not by a socket file, and not by loopback.
fn is_remote(options: &PgConnectOptions) -> bool {
    let host = options.get_host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.to_canonical().is_loopback());
    options.get_socket().is_none() && !host.starts_with('/') && !is_loopback
}

fn mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_socket_files_are_not_remote() {
        for (url, remote) in [
            ("postgres://localhost/hub", false),
            ("postgres://127.0.0.1/hub", false),
            ("postgres://[::1]/hub", false),
            ("postgres://%2Frun%2Fpostgresql/hub", false),
            ("postgres://x/hub?host=/run/postgresql", false),
            ("postgres://db/hub", true),
            ("postgres://10.0.0.1/hub", true),
            ("postgres://[2001:db8::1]/hub", true),
            ("postgres://localhost.example.org/hub", true),
        ] {
            let options: PgConnectOptions = url.parse().expect("a URL");
            assert_eq!(is_remote(&options), remote, "{url}");
        }
    }
}
