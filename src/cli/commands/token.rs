//! `policyhub token`: issues a token on the server's machine, or revokes one from anywhere.
//!
//! Boundary: issuing is a thin call of the server module and needs its key; revoking is an RPC. A token is read only to find its
//! id, and only a newly issued one is printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};

use crate::cli::arguments::request_id;
use crate::cli::output::document::write_stdout;
use crate::cli::output::text;
use crate::cli::output::text::parse_duration;
use crate::cli::session::Session;
use crate::client::pb;
use crate::server;

/// Longest lifetime that can be requested.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommands {
    /// Sign a token with the key of the local issuer
    Issue(Issue),
    /// End tokens before their time
    Revoke(TokenRevoke),
}

/// Sign a token with the key of the local issuer
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub token issue --subject ci --ttl 1h > ci.token")]
pub struct Issue {
    /// Who it is for
    #[arg(long)]
    subject: String,
    /// A group they are in; may come several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How long it is good: a number with s, m, h or d
    #[arg(long, value_parser = ttl)]
    ttl: Duration,
    /// Data directory of the server
    #[arg(long, env = "POLICYHUB_DATA_DIR", value_name = "DIR", default_value = server::config::DATA_DIR)]
    data_dir: PathBuf,
    /// Directory of its keys [default: keys in the data directory]
    #[arg(long, env = "POLICYHUB_KEYS_DIR", value_name = "DIR")]
    keys_dir: Option<PathBuf>,
    /// Whom it is for: the server's token_audience
    #[arg(long, env = "POLICYHUB_TOKEN_AUDIENCE", default_value = server::DEFAULT_AUDIENCE)]
    audience: String,
}

/// End tokens before their time
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub token revoke --subject local:ci --reason 'the runner was stolen'")]
pub struct TokenRevoke {
    #[command(flatten)]
    which: Which,
    /// Why
    #[arg(long)]
    reason: String,
    /// Idempotency key, at most 64 printable ASCII characters [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    request_id: Option<String>,
}

/// Which tokens.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// One, by its id (`jti`)
    #[arg(long, value_name = "JTI")]
    id: Option<String>,
    /// All that somebody was issued until now, and their certificates: ISSUER:SUBJECT, as the log names them
    #[arg(long)]
    subject: Option<String>,
    /// The one in this file
    #[arg(long)]
    file: Option<PathBuf>,
}

/// Issues a token.
pub fn issue(arguments: &Issue) -> anyhow::Result<()> {
    let Issue { subject, groups, ttl, data_dir, keys_dir, audience } = arguments;
    let keys_dir = keys_dir.clone().unwrap_or_else(|| data_dir.join("keys"));
    let token = server::issue_token(&keys_dir, audience, subject, groups, *ttl)?;
    write_stdout(format!("{token}\n").as_bytes())
}

/// Revokes tokens.
pub async fn revoke(session: &Session, arguments: &TokenRevoke) -> anyhow::Result<()> {
    let Which { id, subject, file } = &arguments.which;
    let token_id = match (id, file) {
        (Some(id), _) => id.clone(),
        (None, Some(file)) => id_in(file)?,
        (None, None) => String::new(),
    };
    let request = pb::RevokeTokenRequest {
        token_id,
        subject: subject.clone().unwrap_or_default(),
        reason: arguments.reason.clone(),
        request_id: arguments.request_id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
    };
    let request_id = request.request_id.clone();
    let response = session.client.revoke_token(request).await.context("failed to revoke")?;
    let line = |response: &pb::RevokeTokenResponse| format!("revoked{} of system", text::at_revision(response.cursor));
    session.output.print_mutation(&response, &request_id, line)
}

fn id_in(file: &Path) -> anyhow::Result<String> {
    let token = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    // serde's error is left out: it would show a part of the token.
    jti(token.trim()).with_context(|| format!("there is no token with a jti in {}", file.display()))
}

fn jti(token: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("jti")?.as_str().map(str::to_owned)
}

fn ttl(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        ttl if !ttl.is_zero() && ttl.subsec_nanos() == 0 && ttl <= TOKEN_TTL_MAX => Ok(ttl),
        _ => Err("must be whole seconds, more than nothing and at most 366d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(ttl("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(ttl("1d1h1m1s"), Ok(Duration::from_secs(90_061)));
        assert_eq!(ttl("366d"), Ok(TOKEN_TTL_MAX));
        for bad in [
            "",
            "h",
            "1",
            "-1h",
            "1h30",
            "30m1h",
            "1h1h",
            "1h 30m",
            "h1",
            "1ms1s",
            "1s500ms",
            "1.5h",
            "0s",
            "367d",
            "1y",
            "99999999999h",
        ] {
            assert!(ttl(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_id_of_a_token_is_found_and_nothing_else_shown() {
        let token = |claims: &str| format!("e30.{}.AAAA", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(jti(&token(r#"{"jti":"a"}"#)).as_deref(), Some("a"));
        for bad in ["", "secret", &token("{}"), &token(r#"{"jti":1}"#), &token("secret")] {
            assert_eq!(jti(bad), None, "{bad}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.token");
        std::fs::write(&file, "secret").expect("written");
        assert!(!format!("{:?}", id_in(&file).expect_err("no token")).contains("secret"));
    }
}
