//! `policyhub keys`, and the keys that a watch trusts.

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use super::output::print_json;
use super::session::Session;
use super::text;
use crate::client::pb;
use crate::client::signing::{KeySet, PublicKey};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum Commands {
    /// The public keys of the server
    List(List),
}

/// The public keys of the server
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub keys list --jwks > keys.json")]
pub struct List {
    /// Print the keys that bundles are verified with as a JWK Set, for `watch --jwks` and `verify --jwks`
    #[arg(long)]
    jwks: bool,
}

/// Runs it.
pub async fn run(session: &Session, command: Commands) -> anyhow::Result<()> {
    let Commands::List(arguments) = command;
    let response = list(session).await?;
    if arguments.jwks {
        return print_json(&trusted(&response)?.to_jwks());
    }
    session.output.print(&response, |response| {
        let rows: Vec<Vec<String>> = response.keys.iter().map(row).collect();
        text::table(&["KEY", "ALGORITHM", "PURPOSE", "STATE"], &rows)
    })
}

/// The keys of the server, with the id of its store.
pub async fn list(session: &Session) -> anyhow::Result<pb::ListSigningKeysResponse> {
    session.client.list_signing_keys(pb::ListSigningKeysRequest {}).await.context("failed to list signing keys")
}

/// Those that bundles, statements and checkpoints may be verified with: never keys of seals, never revoked ones.
pub fn trusted(response: &pb::ListSigningKeysResponse) -> anyhow::Result<KeySet> {
    let bundle_keys = response.keys.iter().filter(|key| {
        key.purpose() == pb::KeyPurpose::Bundle
            && matches!(key.state(), pb::KeyState::Prepared | pb::KeyState::Active | pb::KeyState::Retired)
    });
    let keys = bundle_keys.map(|key| {
        let jwk = serde_json::from_str(&key.jwk).with_context(|| format!("key {} is not JSON", key.key_id))?;
        PublicKey::from_jwk(&jwk).with_context(|| format!("key {} can't be used", key.key_id))
    });
    Ok(KeySet::from_keys(keys.collect::<anyhow::Result<Vec<_>>>()?))
}

/// The keys of a JWKS file.
pub fn read_jwks(path: &Path) -> anyhow::Result<KeySet> {
    let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    KeySet::parse_jwks(&bytes).with_context(|| format!("failed to read keys from {}", path.display()))
}

fn row(key: &pb::SigningKey) -> Vec<String> {
    vec![
        text::line(&key.key_id),
        text::line(&key.algorithm),
        text::word(key.purpose().as_str_name(), "KEY_PURPOSE_").to_owned(),
        text::word(key.state().as_str_name(), "KEY_STATE_").to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::signing::{Algorithm, PrivateKey};

    fn key(purpose: pb::KeyPurpose, state: pb::KeyState) -> pb::SigningKey {
        let pem = PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key");
        let public = PrivateKey::from_pem(&pem).expect("the same key").public().clone();
        pb::SigningKey {
            key_id: public.key_id().to_owned(),
            algorithm: "EdDSA".to_owned(),
            purpose: purpose.into(),
            state: state.into(),
            jwk: public.to_jwk().to_string(),
            ..pb::SigningKey::default()
        }
    }

    #[test]
    fn only_bundle_keys_that_are_not_revoked_are_trusted() {
        use pb::{KeyPurpose, KeyState};
        let keys = vec![
            key(KeyPurpose::Bundle, KeyState::Active),
            key(KeyPurpose::Bundle, KeyState::Retired),
            key(KeyPurpose::Bundle, KeyState::Prepared),
            key(KeyPurpose::Bundle, KeyState::Revoked),
            key(KeyPurpose::Bundle, KeyState::Unspecified),
            key(KeyPurpose::Seal, KeyState::Active),
        ];
        let ids: Vec<String> = keys.iter().map(|key| key.key_id.clone()).collect();
        let set = trusted(&pb::ListSigningKeysResponse { keys, store: String::new() }).expect("keys");
        let known: Vec<bool> = ids.iter().map(|id| set.get(id).is_some()).collect();
        assert_eq!(known, [true, true, true, false, false, false]);
    }

    #[test]
    fn a_key_that_can_not_be_read_is_named() {
        let mut bad = key(pb::KeyPurpose::Bundle, pb::KeyState::Active);
        bad.jwk = "{}".to_owned();
        let name = bad.key_id.clone();
        let error = trusted(&pb::ListSigningKeysResponse { keys: vec![bad], store: String::new() }).unwrap_err();
        assert!(format!("{error:#}").contains(&name));
    }
}
