//! The key checkpoint in the data directory: a start verifies what the log of `system` has gained since, and no file makes it believe more
//! than the log says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policyhub::client::pb::KeyState::{Active, Revoked};
use policyhub::client::pb::Role;
use tonic::Code;

use crate::harness::callers::{self, issue, namespace};
use crate::harness::calls;
use crate::harness::idp::kept_out;
use crate::harness::keys::{prepare, revoke, rotate, signing, states};
use crate::harness::subscribing::eventually;
use crate::harness::{Database, Hub, on_both_databases};
use crate::log_check::off;
use crate::startup::{refused, serves};

/// Breaks an event before the head that changes no key.
const BREAK_EVENT: &str = "UPDATE events SET seal = prev_hash WHERE namespace = 'system' AND revision = \
                       (SELECT max(revision) FROM events WHERE namespace = 'system') - 1";
/// Arguments of a server that does not check its logs, and whose keys sign at once.
pub(crate) const UNCHECKED: &[&str] = &["--key-publish-before-use-ms", "0", "--audit-interval-ms", "0"];
/// The place of a role that holds in every namespace.
pub(crate) const ALL: &str = "namespaces/-";
const UNREADABLE: &str = "failed to read what the log says of the signing keys";
const DIFFERENT_ROWS: &str = "the rows of signing_keys are not what the log says";

pub(crate) fn checkpoint_path(hub: &Hub) -> PathBuf {
    hub.data_dir().join("key-checkpoint.jws")
}

fn payload(token: &str) -> serde_json::Value {
    let payload = token.trim().split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// Waits for the checkpoint of the newest event, and returns it.
pub(crate) async fn newest_checkpoint(hub: &Hub) -> String {
    let head = hub.tamper("SELECT max(revision) FROM events WHERE namespace = 'system'").parse().expect("a revision");
    let mut found = String::new();
    eventually("a checkpoint of the head", async || {
        found = fs::read_to_string(checkpoint_path(hub)).unwrap_or_default();
        !found.is_empty() && payload(&found)["revision"].as_i64() == Some(head)
    })
    .await;
    found
}

/// Stops a server, and returns the arguments of another start with its data.
pub(crate) async fn stop(hub: &mut Hub) -> [String; 4] {
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    for name in ["addr.json", "admin.token"] {
        let _ = fs::remove_file(hub.data_dir().join(name));
    }
    ["--database-url", &hub.database_url, "--audit-interval-ms", "0"].map(str::to_owned)
}

fn change_event(revision: i64, change: &str) -> String {
    format!("UPDATE events SET {change} WHERE namespace = 'system' AND revision = {revision}")
}

on_both_databases! {
    with UNCHECKED;

    /// Given an event that does not verify before the checkpoint, a start does not read it. Given any other file in place of the checkpoint, it
    /// reads the whole log.
    async fn a_start_reads_the_log_of_system_after_its_checkpoint(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        let second = rotate(&client).await;
        revoke(&client, &first, false).await.expect("a revocation");
        namespace(&client, "between").await;
        namespace(&client, "after").await;
        let expected = [(second.clone(), Active), (first.clone(), Revoked)];
        let mut hub = hub.restart_in_order().await;
        let kept = newest_checkpoint(&hub).await;
        assert_eq!(payload(&kept)["events"].as_array().map(Vec::len), Some(5), "four changes of keys, and the first role: {kept}");
        let mode = fs::metadata(checkpoint_path(&hub)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let arguments = stop(&mut hub).await;
        let arguments = arguments.each_ref().map(String::as_str);

        off(&hub, BREAK_EVENT);
        let mut without_revocation = payload(&kept);
        without_revocation["events"].as_array_mut().expect("events").pop();
        let (head, rest) = kept.split_once('.').expect("a header");
        let signature = rest.split_once('.').expect("a payload").1;
        let forged = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(without_revocation.to_string()));
        for other in [None, Some(String::new()), Some("{}".to_owned()), Some(kept[..kept.len() / 2].to_owned()), Some(forged)] {
            match &other {
                Some(text) => fs::write(checkpoint_path(&hub), text).expect("written"),
                None => fs::remove_file(checkpoint_path(&hub)).expect("removed"),
            }
            refused(&hub.data_dir(), &arguments, &[UNREADABLE]);
        }

        fs::write(checkpoint_path(&hub), &kept).expect("written");
        off(&hub, "UPDATE signing_keys SET prepare_time = prepare_time + 1");
        let hub = hub.restart().await;
        assert!(hub.has_logged(DIFFERENT_ROWS), "the rows are compared at every start");
        let client = hub.client().await;
        assert_eq!(states(&client).await, expected);
        // The log goes on from the checkpoint.
        prepare(&client).await;
    }

    /// Given a checkpoint whose event, or one of whose changes of keys, is edited or gone, a start reads the whole log, and refuses it.
    async fn what_a_checkpoint_names_is_verified_again(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        rotate(&client).await;
        revoke(&client, &first, false).await.expect("a revocation");
        namespace(&client, "after").await;
        let mut hub = hub.restart_in_order().await;
        let kept = payload(&newest_checkpoint(&hub).await);
        let arguments = stop(&mut hub).await;
        let arguments = arguments.each_ref().map(String::as_str);
        let revocation = kept["events"].as_array().and_then(|events| events.last()?.as_i64()).expect("an event");
        let head = kept["revision"].as_i64().expect("a revision");
        for revision in [revocation, head] {
            for (change, undo) in [("epoch = epoch + 1", "epoch = epoch - 1"), ("revision = -revision", "revision = -revision")] {
                off(&hub, &change_event(revision, change));
                refused(&hub.data_dir(), &arguments, &[]);
                off(&hub, &change_event(if change.starts_with("revision") { -revision } else { revision }, undo));
            }
        }
        serves(&hub.data_dir(), &arguments);
    }

    /// Given a revoked token whose row is deleted, it is refused from the first call on, with a checkpoint and without. Given that its event is
    /// gone too, a start is refused.
    async fn a_revocation_holds_without_its_row(hub: Hub) {
        let token = issue(&hub, &["--subject", "carl", "--ttl", "1h"]);
        let revoke = hub.cli().args(["token", "revoke", "--reason", "lost", "--subject", "local:carl"]).output().expect("a command");
        assert!(revoke.status.success(), "{}", String::from_utf8_lossy(&revoke.stderr));
        let revocation = hub.tamper("SELECT max(revision) FROM events WHERE namespace = 'system'").parse().expect("a revision");
        namespace(&hub.client().await, "after").await;
        let mut hub = hub.restart_in_order().await;
        newest_checkpoint(&hub).await;
        hub.tamper("DELETE FROM revoked_tokens");
        for with_checkpoint in [true, false] {
            if !with_checkpoint {
                fs::remove_file(checkpoint_path(&hub)).expect("removed");
            }
            hub = hub.restart().await;
            let carl = hub.client_with(Some(token.clone())).await;
            assert_eq!(kept_out(&carl).await.as_deref(), Some("TOKEN_REVOKED"), "{with_checkpoint}");
        }
        newest_checkpoint(&hub).await;
        let arguments = stop(&mut hub).await;
        off(&hub, &change_event(revocation, "revision = -revision"));
        refused(&hub.data_dir(), &arguments.each_ref().map(String::as_str), &[UNREADABLE]);
    }

    /// Given the checkpoint of another store, and one from before a key was revoked, a start says what the log says.
    async fn a_checkpoint_of_before_or_of_elsewhere_is_no_harm(hub: Hub) {
        let first = signing(&hub.client().await).await;
        let mut hub = hub.restart_in_order().await;
        let early = newest_checkpoint(&hub).await;
        let client = hub.client().await;
        let second = rotate(&client).await;
        revoke(&client, &first, false).await.expect("a revocation");
        let expected = [(second, Active), (first, Revoked)];
        let elsewhere = newest_checkpoint(&Hub::start(Database::Sqlite).await).await;
        for other in [early, elsewhere] {
            hub.kill().await;
            fs::write(checkpoint_path(&hub), other).expect("written");
            hub = hub.restart().await;
            assert_eq!(states(&hub.client().await).await, expected);
            assert!(!hub.has_logged(DIFFERENT_ROWS), "nobody edited a row");
        }
    }
}

/// Starts a server on a copy of a stopped server's database, with its keys and a directory of its own.
pub(crate) async fn start_on_copy(hub: &Hub) -> Hub {
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    let copy = dir.path().join("policyhub.db");
    fs::copy(hub.data_dir().join("policyhub.db"), &copy).expect("copied");
    let keys = hub.data_dir().join("keys").display().to_string();
    Hub::start_on(dir, format!("sqlite://{}", copy.display()), &[UNCHECKED, &["--keys-dir", &keys]].concat()).await
}

pub(crate) fn database_file(hub: &Hub) -> PathBuf {
    hub.database_url.trim_start_matches("sqlite://").into()
}

/// Puts rows of another copy of the store in place of those of a stopped or running server.
fn transplant(from: &Path, to: &Hub, table: &str, which: &str) {
    off(to, &format!("DELETE FROM {table} WHERE {which}"));
    let insert = format!("INSERT INTO {table} SELECT * FROM other.{table} WHERE {which}");
    to.tamper(&format!("ATTACH '{}' AS other;;{insert}", from.display()));
}

/// Puts the events of `system` from a revision on, its head, its roles and its revocations in place.
pub(crate) fn transplant_end(from: &Path, to: &Hub, revision: &str) {
    transplant(from, to, "events", &format!("namespace = 'system' AND revision >= {revision}"));
    transplant(from, to, "namespaces", "id = 'system'");
    transplant(from, to, "role_bindings", "namespace = 'system'");
    transplant(from, to, "revoked_tokens", "1 = 1");
}

/// Given two copies of a store that went on by themselves, and in the second one's place of a revocation the event that the first one has
/// there, a start does not take that for its own: both are signed, but only one was seen.
#[tokio::test]
async fn an_event_of_another_copy_of_the_store_does_not_replace_a_revocation() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    let first = signing(&hub.client().await).await;
    rotate(&hub.client().await).await;
    stop(&mut hub).await;

    let mut other = start_on_copy(&hub).await;
    prepare(&other.client().await).await;
    stop(&mut other).await;

    let mut own = start_on_copy(&hub).await;
    revoke(&own.client().await, &first, false).await.expect("a revocation");
    let revocation = own.tamper("SELECT max(revision) FROM events WHERE namespace = 'system'");
    namespace(&own.client().await, "after").await;
    newest_checkpoint(&own).await;
    let arguments = stop(&mut own).await;
    transplant(&database_file(&other), &own, "events", &format!("namespace = 'system' AND revision = {revocation}"));
    let keys = hub.data_dir().join("keys").display().to_string();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--keys-dir", &keys]).collect();
    refused(&own.data_dir(), &arguments, &[UNREADABLE]);
}

/// Given two copies of a store, one of which took a role away, while the other one gave another role: the event and the rows of that other
/// copy give nobody the role back. A start with them is refused, and a server that runs does not take them.
#[tokio::test]
async fn a_role_of_another_copy_of_the_store_is_not_given_back() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    let eve = callers::grant(&hub.client().await, "eve", Role::Admin, ALL).await;
    stop(&mut hub).await;

    let mut other = start_on_copy(&hub).await;
    callers::grant(&other.client().await, "dave", Role::Viewer, ALL).await;
    stop(&mut other).await;

    let mut own = start_on_copy(&hub).await;
    callers::take_away(&own.client().await, &eve.name).await.expect("taken away");
    let removal = own.tamper("SELECT max(revision) FROM events WHERE namespace = 'system'");
    namespace(&own.client().await, "after").await;
    newest_checkpoint(&own).await;
    own = own.restart_in_order().await;
    transplant(&database_file(&other), &own, "events", &format!("namespace = 'system' AND revision = {removal}"));
    transplant(&database_file(&other), &own, "role_bindings", "namespace = 'system'");
    let token = issue(&hub, &["--subject", "eve", "--ttl", "1h"]);
    let granted = callers::try_grant(&own.client_with(Some(token)).await, "local:mallory", Role::Admin, ALL).await;
    calls::refused(granted, Code::DataLoss, "DATA_LOSS");

    let arguments = stop(&mut own).await;
    let keys = hub.data_dir().join("keys").display().to_string();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--keys-dir", &keys]).collect();
    refused(&own.data_dir(), &arguments, &[UNREADABLE]);
}
