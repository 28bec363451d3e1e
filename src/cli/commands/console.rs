//! `policyhub console`

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::cli::exit_code::UsageError;
use crate::cli::global::Global;
use crate::cli::output::document::{Format, print_text};
use crate::cli::session::bearer_token;
use crate::client::durable::read_bounded;
use crate::server::config::{CONSOLE_PORT, DATA_DIR};
use crate::server::sign_in_path;

/// Largest `addr.json` that is read.
const ADDRESSES_MAX_BYTES: u64 = 4 * 1024;

/// Print an address that signs a browser in to the web console, once and within a minute
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub console")]
pub struct ConsoleArguments {
    /// Address of the console [default: that of the server in POLICYHUB_DATA_DIR or ./policyhub-data, else
    /// http://127.0.0.1:7072]
    #[arg(long, env = "POLICYHUB_CONSOLE", value_name = "URL")]
    console: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no console, or it does not take the token.
pub async fn run(global: &Global, arguments: ConsoleArguments) -> anyhow::Result<()> {
    let console = arguments.console.filter(|url| !url.is_empty()).unwrap_or_else(local_console);
    let console = console.trim_end_matches('/');
    let url: http::Uri = format!("{console}/").parse().map_err(|_| UsageError(format!("{console} is no URL")))?;
    let is_near = url.host().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    });
    ensure!(
        url.scheme_str() == Some("https") || is_near || global.insecure_plaintext(),
        UsageError(format!(
            "{console} is not https and not this machine: the token would cross the network in plaintext"
        ))
    );
    let token =
        bearer_token(global)?.context("there is no token: give --token-file, or run this in the server's directory")?;
    let ca_cert = global.ca_cert().map(std::fs::read).transpose().context("failed to read --ca-cert")?;
    let path = sign_in_path(&url, ca_cert.as_deref(), token.trim()).await;
    let path = path.with_context(|| format!("failed to ask the console at {console}"))?;
    let url = format!("{console}{path}");
    match global.output {
        Format::Text => print_text(&format!("{url}\n")),
        other => other.print_document(&serde_json::json!({ "url": url })),
    }
}

/// Returns the address of the console of the server on this machine.
fn local_console() -> String {
    let data_dir = std::env::var_os("POLICYHUB_DATA_DIR").filter(|value| !value.is_empty());
    let file = data_dir.map_or_else(|| PathBuf::from(DATA_DIR), PathBuf::from).join("addr.json");
    let addresses = read_bounded(&file, ADDRESSES_MAX_BYTES).unwrap_or_default();
    let addresses: serde_json::Value = serde_json::from_slice(&addresses).unwrap_or_default();
    match addresses.get("console").and_then(serde_json::Value::as_str) {
        Some(url) => url.to_owned(),
        None => format!("http://127.0.0.1:{CONSOLE_PORT}"),
    }
}
