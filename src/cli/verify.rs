//! `policyhub verify`: offline, no server and no token.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::content;
use super::keys;
use super::output::{Format, print_json, write_stdout};
use super::text;
use crate::client::verify_saved;

/// Verify saved files without a server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub verify --jwks keys.json --manifest out/pricing/manifest.jws \\\n    \
                        --content out/pricing/content --statement out/pricing/statement.jws")]
pub struct Arguments {
    /// The keys to trust, as a JWK Set
    #[arg(long, value_name = "FILE")]
    jwks: PathBuf,
    /// The manifest, compact JWS
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// The exact content
    #[arg(long, value_name = "FILE")]
    content: PathBuf,
    /// The statement that put it in force, compact JWS
    #[arg(long, value_name = "FILE")]
    statement: Option<PathBuf>,
}

/// Runs it.
pub fn run(output: Format, arguments: &Arguments) -> anyhow::Result<()> {
    let keys = keys::read_jwks(&arguments.jwks)?;
    let manifest = read_token(&arguments.manifest)?;
    let content = content::read(&arguments.content)?;
    let statement = arguments.statement.as_deref().map(read_token).transpose()?;
    let (manifest, statement) =
        verify_saved(&manifest, &content, statement.as_deref(), &keys).context("failed to verify")?;
    let place = statement.as_ref().map(|statement| (statement.epoch, statement.revision));
    if output == Format::Json {
        return print_json(&json!({
            "verified": true,
            "store": manifest.store,
            "namespace": manifest.namespace,
            "policy": manifest.policy,
            "version": manifest.version,
            "label": manifest.label.unwrap_or_default(),
            "digest": manifest.digest,
            "publisher": manifest.publisher,
            "activated": place.map(|(epoch, revision)| json!({"epoch": epoch, "revision": revision})),
        }));
    }
    let mut line =
        format!("verified {}@{} of {} {}", manifest.policy, manifest.version, manifest.namespace, manifest.digest);
    line.push_str(&format!(", published by {}", text::line(&manifest.publisher)));
    if let Some((epoch, revision)) = place {
        line.push_str(&format!(", in force at {epoch}:{revision}"));
    }
    write_stdout(format!("{line}\n").as_bytes())
}

fn read_token(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}
