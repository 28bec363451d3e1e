//! A doubt at a start: what is read in it is not kept, and it ends once the store's own log is there again, or the loss is accepted.

use std::fs;

use policyhub::client::pb::KeyState::{Active, Revoked};
use policyhub::client::pb::{self, Role};
use tonic::Code;

use crate::harness::callers::{self, issue, namespace};
use crate::harness::calls;
use crate::harness::idp::kept_out;
use crate::harness::keys::{revoke, rotate, signing, states};
use crate::harness::subscribing::eventually;
use crate::harness::{Database, Hub};
use crate::key_checkpoint::{
    ALL, UNCHECKED, checkpoint_path, database_file, newest_checkpoint, start_on_copy, stop, transplant_end,
};

const LOST: &str = "its log lacks what the key checkpoint names of keys, revocations and roles";

/// Given the end of another copy's log in place of the store's own during a start, the server is in doubt, and forgets what it read once its
/// own log is there again: keys, credentials and roles that were revoked there stay revoked.
#[tokio::test]
async fn what_was_read_in_doubt_is_not_kept() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    calls::release(&hub.client().await, "active", "a: 1").await;
    let first = signing(&hub.client().await).await;
    let second = rotate(&hub.client().await).await;
    let eve = callers::grant(&hub.client().await, "eve", Role::Admin, ALL).await;
    callers::grant(&hub.client().await, "carl", Role::Admin, ALL).await;
    let tokens = ["eve", "carl"].map(|name| issue(&hub, &["--subject", name, "--ttl", "1h"]));
    let next = hub.tamper("SELECT max(revision) + 1 FROM events WHERE namespace = 'system'");
    stop(&mut hub).await;

    let mut other = start_on_copy(&hub).await;
    for id in ["a", "b", "c"] {
        namespace(&other.client().await, id).await;
    }
    stop(&mut other).await;

    let mut own = start_on_copy(&hub).await;
    let admin = own.client().await;
    revoke(&admin, &first, false).await.expect("a revocation");
    callers::take_away(&admin, &eve.name).await.expect("taken away");
    let ended = own.cli().args(["token", "revoke", "--reason", "lost", "--subject", "local:carl"]).output();
    assert!(ended.expect("a command").status.success());
    stop(&mut own).await;
    let saved = own.dir.path().join("saved.db");
    fs::copy(database_file(&own), &saved).expect("copied");

    transplant_end(&database_file(&other), &own, &next);
    let own = own.restart().await;
    is_refused_in_doubt(&own).await;
    let [eve, carl] = tokens.map(Some);
    let (eve, carl) = (own.client_with(eve).await, own.client_with(carl).await);
    // What these calls find may be cached.
    kept_out(&eve).await;
    kept_out(&carl).await;

    // From here on carl tries to write without a pause: no call may be the first after the doubt.
    let trying = tokio::spawn(async move {
        loop {
            let run = pb::RecordRunRequest {
                parent: calls::NAMESPACE.to_owned(),
                run_id: "by-carl".to_owned(),
                ..Default::default()
            };
            carl.record_run(run).await.expect_err("no run by a revoked credential");
            let granted = callers::try_grant(&carl, "local:mallory", Role::Admin, ALL).await;
            if granted.expect_err("no write by a revoked credential").reason() == "TOKEN_REVOKED" {
                return;
            }
        }
    });
    transplant_end(&saved, &own, &next);
    let admin = own.client().await;
    eventually("its own log is there again", async || admin.draft(calls::draft_request("p", "a: 1")).await.is_ok())
        .await;
    assert_eq!(states(&admin).await, [(second, Active), (first, Revoked)]);
    trying.await.expect("carl's credential is revoked");
    let granted = callers::try_grant(&eve, "local:mallory", Role::Admin, ALL).await;
    calls::refused(granted, Code::PermissionDenied, "PERMISSION_DENIED");
}

async fn is_refused_in_doubt(hub: &Hub) {
    let drafted = hub.client().await.draft(calls::draft_request("p", "a: 1")).await;
    calls::refused(drafted, Code::FailedPrecondition, "STORE_IN_DOUBT");
}

/// Given an older copy of the database, and no high-water marks, the checkpoint tells that the store lost its newest changes.
#[tokio::test]
async fn a_checkpoint_reveals_an_older_copy_of_the_store() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    let first = signing(&hub.client().await).await;
    rotate(&hub.client().await).await;
    stop(&mut hub).await;
    let older = hub.dir.path().join("older.db");
    fs::copy(database_file(&hub), &older).expect("copied");
    let mut hub = hub.restart().await;
    revoke(&hub.client().await, &first, false).await.expect("a revocation");
    newest_checkpoint(&hub).await;
    stop(&mut hub).await;
    fs::copy(&older, database_file(&hub)).expect("copied");
    fs::remove_file(hub.data_dir().join("high-water.json")).expect("removed");
    is_refused_in_doubt(&hub.restart().await).await;
}

/// Given an older copy of the database at a start, and that an operator accepts the loss while the server runs, it says that what its checkpoint
/// names was lost.
#[tokio::test]
async fn what_a_checkpoint_names_is_said_to_be_lost_when_the_loss_is_accepted() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    let older = hub.dir.path().join("older.db");
    stop(&mut hub).await;
    fs::copy(database_file(&hub), &older).expect("copied");
    let mut hub = hub.restart().await;
    let ended = hub.cli().args(["token", "revoke", "--reason", "lost", "--subject", "local:carl"]).output();
    assert!(ended.expect("a command").status.success());
    newest_checkpoint(&hub).await;
    stop(&mut hub).await;
    fs::copy(&older, database_file(&hub)).expect("copied");
    let hub = hub.restart().await;
    is_refused_in_doubt(&hub).await;
    assert!(!hub.has_logged(LOST), "nobody has accepted it");
    let bump = hub.cli().args(["epoch", "bump", "--accept-loss", "--data-dir"]).arg(hub.data_dir()).output();
    assert!(bump.expect("a command").status.success());
    eventually("it is said", async || hub.has_logged(LOST)).await;
    let admin = hub.client().await;
    eventually("writes go on", async || admin.draft(calls::draft_request("p", "a: 1")).await.is_ok()).await;
}

/// Starts a server on a copy of a stopped server's database, creates these namespaces, and stops it once it has its checkpoint.
async fn gone_on(hub: &Hub, namespaces: &[&str]) -> Hub {
    let mut copy = start_on_copy(hub).await;
    for id in namespaces {
        namespace(&copy.client().await, id).await;
    }
    newest_checkpoint(&copy).await;
    stop(&mut copy).await;
    copy
}

/// Given a start with the end of another copy's log and the checkpoint of that copy, the server goes on from its own log all the same, once that
/// is there again.
#[tokio::test]
async fn a_checkpoint_of_another_copy_ends_with_the_doubt() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    let next = hub.tamper("SELECT max(revision) + 1 FROM events WHERE namespace = 'system'");
    stop(&mut hub).await;

    let (other, own) = (gone_on(&hub, &["a"]).await, gone_on(&hub, &["b"]).await);
    let saved = own.dir.path().join("saved.db");
    fs::copy(database_file(&own), &saved).expect("copied");

    transplant_end(&database_file(&other), &own, &next);
    fs::copy(checkpoint_path(&other), checkpoint_path(&own)).expect("copied");
    let own = own.restart().await;
    is_refused_in_doubt(&own).await;
    transplant_end(&saved, &own, &next);
    let admin = own.client().await;
    eventually("its own log is there again", async || admin.draft(calls::draft_request("p", "a: 1")).await.is_ok())
        .await;
}

/// Given the rows and the high-water marks of another copy, which went on further, the checkpoint of the store's own log tells that they are
/// another one's: it is signed, and the marks are not.
#[tokio::test]
async fn marks_of_another_copy_do_not_replace_the_checkpoint() {
    let mut hub = Hub::start_with(Database::Sqlite, UNCHECKED).await;
    let next = hub.tamper("SELECT max(revision) + 1 FROM events WHERE namespace = 'system'");
    stop(&mut hub).await;

    let (other, own) = (gone_on(&hub, &["a", "b"]).await, gone_on(&hub, &["a"]).await);
    transplant_end(&database_file(&other), &own, &next);
    fs::copy(other.data_dir().join("high-water.json"), own.data_dir().join("high-water.json")).expect("copied");
    is_refused_in_doubt(&own.restart().await).await;
}
