//! `policyhub keys`, and the keys that a watch trusts.

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::cli::arguments::request_id;
use crate::cli::names::short;
use crate::cli::output::document::{print_json, say};
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::signing::KeySet;
use crate::client::{PinnedFile, pb, seal_keys, trusted_keys};
use crate::domain::counted_noun::counted_noun;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommands {
    /// The public keys of the server
    List(KeyList),
    /// Make a key public that will sign later
    Prepare(Prepare),
    /// Make a prepared key the one that signs; the one before is retired
    Activate(KeyActivate),
    /// End trust in a key, and say what it signed
    Revoke(KeyRevoke),
}

/// The public keys of the server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub keys list --jwks > keys.json")]
pub struct KeyList {
    /// Print the keys that bundles are verified with as a JWK Set, for `watch --jwks` and `verify --jwks`
    #[arg(long)]
    jwks: bool,
    /// Print the keys that seals of events are verified with as a JWK Set, for `verify --log --seal-jwks`
    #[arg(long, conflicts_with = "jwks")]
    seal_jwks: bool,
}

/// Make a key public that will sign later
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub keys prepare\n\n\
                        The server takes a key file of its key directories that it does not know yet, or makes one. Every\n\
                        replica needs that file before the key is activated.")]
pub struct Prepare {
    /// Algorithm of the key
    #[arg(long, value_name = "ALG", default_value = "EdDSA", value_parser = ["EdDSA", "ES256"])]
    algorithm: String,
    #[command(flatten)]
    request: KeyRequestId,
}

/// Make a prepared key the one that signs
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policyhub keys activate kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --reason 'yearly rotation'"
)]
pub struct KeyActivate {
    /// Id of the key
    // An id may begin with a dash.
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: String,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    request: KeyRequestId,
}

/// End trust in a key, and say what it signed
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  policyhub keys revoke kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k --reason 'laptop stolen' --resign\n\n\
                        Without --resign nothing that the key signed is served any more. Given again with --resign it goes on\n\
                        where it ended."
)]
pub struct KeyRevoke {
    /// Id of the key
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    key: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// Sign again what it signed, with the key that is active
    #[arg(long)]
    resign: bool,
    #[command(flatten)]
    request: KeyRequestId,
}

/// The flag of mutations that can't be tried out.
#[derive(Debug, Args)]
struct KeyRequestId {
    /// Idempotency key, at most 64 printable ASCII characters [default: a new UUID]
    #[arg(long, value_name = "ID", value_parser = request_id)]
    request_id: Option<String>,
}

impl KeyRequestId {
    fn get(self) -> String {
        self.request_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
    }
}

/// Runs the command.
pub async fn run(session: &Session, command: KeysCommands) -> anyhow::Result<()> {
    match command {
        KeysCommands::List(arguments) => show(session, &arguments).await,
        KeysCommands::Prepare(arguments) => prepare(session, arguments).await,
        KeysCommands::Activate(arguments) => activate(session, arguments).await,
        KeysCommands::Revoke(arguments) => revoke(session, arguments).await,
    }
}

async fn show(session: &Session, arguments: &KeyList) -> anyhow::Result<()> {
    let response = list(session).await?;
    if arguments.jwks {
        return print_json(&trusted_keys(&response)?.to_jwks());
    }
    if arguments.seal_jwks {
        return print_json(&seal_keys(&response)?.to_jwks());
    }
    session.output.print(&response, |response| {
        let rows: Vec<Vec<String>> = response.keys.iter().map(row).collect();
        let table = text::table(&["KEY", "ALGORITHM", "PURPOSE", "STATE", "SINCE"], &rows);
        format!("{table}of store {}\n", text::line(&response.store))
    })
}

async fn prepare(session: &Session, arguments: Prepare) -> anyhow::Result<()> {
    let request_id = arguments.request.get();
    let request = pb::PrepareSigningKeyRequest { algorithm: arguments.algorithm, request_id: request_id.clone() };
    let response = session.client.prepare_signing_key(request).await.context("failed to prepare a signing key")?;
    session.output.print_mutation(&response, &request_id, |response| {
        let key = response.key.clone().unwrap_or_default();
        let ready = text::time(key.ready_time.as_ref());
        text::done_at(&format!("prepared {}, may sign from {ready},", text::line(short(&key.name))), response.cursor)
    })
}

async fn activate(session: &Session, arguments: KeyActivate) -> anyhow::Result<()> {
    let request_id = arguments.request.get();
    let KeyActivate { key, reason, .. } = arguments;
    let request = pb::ActivateSigningKeyRequest { name: name_of(&key), reason, request_id: request_id.clone() };
    let response = session.client.activate_signing_key(request).await;
    let response = response.with_context(|| format!("failed to activate {key}"))?;
    session.output.print_mutation(&response, &request_id, |response| {
        text::done_at(&format!("activated {}", text::line(&key)), response.cursor)
    })
}

/// Repeats the call until everything is signed again: one call has a limit.
async fn revoke(session: &Session, arguments: KeyRevoke) -> anyhow::Result<()> {
    let request_id = arguments.request.get();
    let KeyRevoke { key, reason, resign, .. } = arguments;
    let ask = async |request_id: String| {
        let request = pb::RevokeSigningKeyRequest { name: name_of(&key), reason: reason.clone(), resign, request_id };
        let response = session.client.revoke_signing_key(request).await;
        response.with_context(|| format!("failed to revoke {key}; the same again goes on where it ended"))
    };
    let mut response = ask(request_id.clone()).await?;
    while resign && response.remaining_count > 0 {
        say(&format!("{} of {} versions are left to sign", response.remaining_count, response.version_count));
        let next = ask(uuid::Uuid::now_v7().to_string()).await?;
        if next.remaining_count >= response.remaining_count {
            break;
        }
        response.remaining_count = next.remaining_count;
    }
    let left = response.remaining_count;
    session.output.print_mutation(&response, &request_id, |response| revoked(&key, resign, response))?;
    let unsigned = counted_noun(left, "version", "versions");
    anyhow::ensure!(!resign || left == 0, "{unsigned} can't be signed again: the log of the server says why");
    Ok(())
}

fn revoked(key: &str, resign: bool, response: &pb::RevokeSigningKeyResponse) -> String {
    let mut told = text::done_at(&format!("revoked {}", text::line(key)), response.cursor);
    for version in &response.versions {
        told.push_str(&format!("{}\n", text::line(version)));
    }
    let named = i64::try_from(response.versions.len()).unwrap_or(i64::MAX);
    if response.version_count > named {
        told.push_str(&format!("and {} more\n", response.version_count - named));
    }
    let signed = response.version_count - response.remaining_count;
    if resign {
        told.push_str(&format!("{signed} of {} versions signed again\n", response.version_count));
    } else if response.version_count > 0 {
        told.push_str(&format!(
            "{} served any more; --resign signs again what it signed\n",
            counted_noun(response.version_count, "version is not", "versions are not")
        ));
    }
    told
}

/// Returns the keys of the server, with the id of its store.
pub async fn list(session: &Session) -> anyhow::Result<pb::ListSigningKeysResponse> {
    session.client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.context("failed to list signing keys")
}

/// Returns the name of a key from its id or its name.
fn name_of(key: &str) -> String {
    if key.starts_with("signingKeys/") { key.to_owned() } else { format!("signingKeys/{key}") }
}

/// Opens a JWKS file that is read again when it changes.
pub fn pinned_file(path: &Path, strict: bool) -> anyhow::Result<PinnedFile> {
    PinnedFile::open(path, strict).with_context(|| format!("failed to read keys from {}", path.display()))
}

/// Reads the keys of a JWKS file.
pub fn read_jwks(path: &Path) -> anyhow::Result<KeySet> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    KeySet::parse_jwks(&bytes).with_context(|| format!("failed to read keys from {}", path.display()))
}

fn row(key: &pb::SigningKey) -> Vec<String> {
    vec![
        text::line(short(&key.name)),
        text::line(&key.algorithm),
        text::word(key.purpose().as_str_name(), "KEY_PURPOSE_").to_owned(),
        text::word(key.state().as_str_name(), "KEY_STATE_").to_owned(),
        text::time(
            [&key.revoke_time, &key.retire_time, &key.activate_time, &key.prepare_time]
                .into_iter()
                .find_map(Option::as_ref),
        ),
    ]
}
