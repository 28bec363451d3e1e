//! The calls about signing keys, in one line each, and two replicas that may hold different keys.

use std::sync::Arc;

use policyhub::client::{Client, ClientError, pb};

use super::calls::NamedEvent as _;
use super::{Database, Hub};

/// Lets keys sign as soon as every replica knows them, with frequent heartbeats.
pub const AT_ONCE: &[&str] =
    &["--key-publish-before-use-ms", "0", "--heartbeat-interval-ms", "100", "--poll-interval-ms", "50"];

/// Returns the ids and states of the signing keys, without the event key, the active one first.
pub async fn states(client: &Client) -> Vec<(String, pb::KeyState)> {
    let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys").keys;
    let bundle = listed.into_iter().filter(|key| key.purpose() == pb::KeyPurpose::Bundle);
    bundle.map(|key| (key.id(), key.state())).collect()
}

/// Returns the id of the key that signs.
pub async fn signing(client: &Client) -> String {
    let states = states(client).await;
    let mut active = states.into_iter().filter(|(_, state)| *state == pb::KeyState::Active);
    let (key, None) = (active.next().expect("a key signs"), active.next()) else { panic!("two keys sign") };
    key.0
}

/// Prepares a key.
pub async fn prepare(client: &Client) -> pb::SigningKey {
    let request = pb::PrepareSigningKeyRequest { algorithm: "EdDSA".to_owned(), ..Default::default() };
    client.prepare_signing_key(request).await.expect("a prepared key").key.expect("a key")
}

/// Activates a key.
pub async fn try_activate(client: &Client, key_id: &str) -> Result<pb::SigningKey, ClientError> {
    let request = pb::ActivateSigningKeyRequest {
        name: format!("signingKeys/{key_id}"),
        reason: "a test".to_owned(),
        ..Default::default()
    };
    client.activate_signing_key(request).await.map(|answer| answer.key.expect("a key"))
}

/// Prepares and activates a key and returns its id.
pub async fn rotate(client: &Client) -> String {
    let key_id = prepare(client).await.id();
    try_activate(client, &key_id).await.expect("an active key").id()
}

/// Revokes a key.
pub async fn revoke(client: &Client, key_id: &str, resign: bool) -> Result<pb::RevokeSigningKeyResponse, ClientError> {
    let request = pb::RevokeSigningKeyRequest {
        name: format!("signingKeys/{key_id}"),
        reason: "it leaked".to_owned(),
        resign,
        ..Default::default()
    };
    client.revoke_signing_key(request).await
}

/// Starts a second replica with its own directory and these keys.
pub async fn replica_of(hub: &Hub, keys_dir: &std::path::Path, arguments: &[&str]) -> Hub {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let keys_dir = keys_dir.display().to_string();
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--keys-dir", &keys_dir]).collect();
    Hub::start_on(dir, hub.database_url.clone(), &arguments).await
}

/// Starts two replicas over one set of key files, or one where the database allows only one.
pub async fn replicas(database: Database, arguments: &[&str]) -> Vec<Hub> {
    let first = Hub::start_with(database, arguments).await;
    if database == Database::Sqlite {
        return vec![first];
    }
    let second = replica_of(&first, &first.data_dir().join("keys"), arguments).await;
    vec![first, second]
}
