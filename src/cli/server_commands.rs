//! The commands that run on the server's own machine: `serve`, `migrate`, `token issue`, `config check`.
//!
//! Boundary: thin calls of the server room; no RPC, no token.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{print_json, write_stdout};
use super::session::DEFAULT_DATA_DIR;
use super::text::parse_duration;
use crate::server;
use crate::server::config::Settings;

/// Longest lifetime of a token that can be asked for.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Run the server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub serve --data-dir /var/lib/policyhub")]
pub struct Serve {
    #[command(flatten)]
    settings: Settings,
}

/// Bring the database to this version
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub migrate --database-url postgres://hub@db/policyhub")]
pub struct Migrate {
    #[command(flatten)]
    settings: Settings,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommands {
    /// Check the configuration and print what is in force
    Check(Check),
}

/// Check the configuration and print what is in force
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub config check --config policyhub.toml")]
pub struct Check {
    #[command(flatten)]
    settings: Settings,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommands {
    /// Sign a token with the key of the local issuer
    Issue(Issue),
}

/// Sign a token with the key of the local issuer
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub token issue --subject ci --ttl 1h > ci.token")]
pub struct Issue {
    /// Who it is for
    #[arg(long)]
    subject: String,
    /// How long it is good: a number with s, m, h or d
    #[arg(long, value_parser = ttl)]
    ttl: Duration,
    /// Data directory of the server
    #[arg(long, env = "POLICYHUB_DATA_DIR", value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Directory of its keys [default: keys in the data directory]
    #[arg(long, env = "POLICYHUB_KEYS_DIR", value_name = "DIR")]
    keys_dir: Option<PathBuf>,
    /// Whom it is for: the server's token_audience
    #[arg(long, env = "POLICYHUB_TOKEN_AUDIENCE", default_value = server::DEFAULT_AUDIENCE)]
    audience: String,
}

/// Runs the server until it is told to end.
pub async fn serve(arguments: Serve) -> anyhow::Result<()> {
    server::run(arguments.settings).await
}

/// Migrates the database.
pub async fn migrate(arguments: Migrate) -> anyhow::Result<()> {
    server::migrate(arguments.settings).await
}

/// Checks the configuration.
pub fn config(command: ConfigCommands) -> anyhow::Result<()> {
    let ConfigCommands::Check(arguments) = command;
    print_json(&arguments.settings.load()?.summary())
}

/// Issues a token.
pub fn token(command: TokenCommands) -> anyhow::Result<()> {
    let TokenCommands::Issue(arguments) = command;
    let keys_dir = arguments.keys_dir.unwrap_or_else(|| arguments.data_dir.join("keys"));
    let token = server::issue_token(&keys_dir, &arguments.audience, &arguments.subject, arguments.ttl)?;
    write_stdout(format!("{token}\n").as_bytes())
}

fn ttl(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        ttl if !ttl.is_zero() && ttl <= TOKEN_TTL_MAX => Ok(ttl),
        _ => Err("must be more than nothing and at most 366d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_unit() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(ttl("366d"), Ok(TOKEN_TTL_MAX));
        for bad in ["", "h", "1", "-1h", "1.5h", "0s", "367d", "1y", "99999999999h"] {
            assert!(ttl(bad).is_err(), "{bad:?}");
        }
    }
}
