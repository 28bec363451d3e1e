//! Where private keys are stored: directories, mounted Secrets, replicas without a key; never a database or a log.

use std::fs;
use std::path::Path;

use policyhub::client::pb;
use tonic::Code;

use crate::harness::calls::{self, NamedEvent as _, refused, release};
use crate::harness::http;
use crate::harness::keys::{AT_ONCE, prepare, replica_of, rotate, signing, try_activate};
use crate::harness::watching::DEADLINE;
use crate::harness::{Database, Hub};

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a copy");
}

/// Polls `/readyz` until it answers this status; the deadline only ends a test that would wait for ever.
async fn ready(hub: &Hub, status: u16) -> String {
    let wait = async {
        loop {
            let (found, _, body) = http::get(&hub.http, "/readyz").expect("an answer");
            if found == status {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("/readyz never answered {status}"))
}

/// Given a replica without the active key's file, it neither activates the key nor signs with another one; with the file it continues.
#[tokio::test]
async fn a_replica_without_the_active_key_writes_nothing() {
    let first = Hub::start_with(Database::Postgres, AT_ONCE).await;
    let keys = tempfile::tempdir().expect("a directory");
    for name in ["seal.pem", "issuer.pem", "signing-eddsa.pem"] {
        copy(&first.data_dir().join("keys").join(name), &keys.path().join(name));
    }
    let second = replica_of(&first, keys.path(), AT_ONCE).await;
    let (one, two) = (first.client().await, second.client_with(Some(first.token())).await);
    release(&two, "p", "a: 1").await;
    let key = prepare(&one).await.id();
    let error = refused(try_activate(&two, &key).await, Code::FailedPrecondition, "KEY_NOT_READY");
    assert_eq!(error.metadata()["key_id"], key);
    try_activate(&one, &key).await.expect("an active key");
    assert!(ready(&second, 503).await.contains(&key));
    let draft = || async {
        two.draft(pb::DraftRequest { request_id: String::new(), ..calls::draft_request("p", "a: 2") }).await
    };
    let error = refused(draft().await, Code::Unavailable, "SIGNING_UNAVAILABLE");
    assert_eq!(error.metadata()["key_id"], key);
    assert!(second.log.lock().expect("the log").contains("can't sign: no writes and no checkpoints here"));
    // The active set is still served, and the other replica writes.
    assert_eq!(calls::active(&two, "p").await, 1);
    release(&one, "p", "a: 2").await;

    let file = format!("signing-{key}.pem");
    copy(&first.data_dir().join("keys").join(&file), &keys.path().join(&file));
    ready(&second, 200).await;
    release(&two, "p", "a: 3").await;
}

/// Given a lost key, another one can replace it.
#[tokio::test]
async fn a_lost_key_is_replaced() {
    let mut hub = Hub::start_with(Database::Sqlite, AT_ONCE).await;
    let lost = signing(&hub.client().await).await;
    release(&hub.client().await, "p", "a: 1").await;
    hub.kill().await;
    fs::remove_file(hub.data_dir().join("keys/signing-eddsa.pem")).expect("the key");
    let hub = hub.restart().await;
    assert!(ready(&hub, 503).await.contains(&lost));
    let client = hub.client().await;
    refused(calls::try_activate(&client, "p", 1, None).await, Code::Unavailable, "SIGNING_UNAVAILABLE");
    let next = rotate(&client).await;
    ready(&hub, 200).await;
    release(&client, "p", "a: 2").await;
    assert_eq!(signing(&client).await, next);
    // What the lost key signed is still valid.
    assert_eq!(calls::get_version(&client, "p", 1).await.version, 1);
}

/// Given a mounted Secret, a directory behind a link that is swapped atomically, a new key is read without a restart.
#[tokio::test]
async fn a_key_of_a_secret_is_taken_when_it_comes() {
    let mount = tempfile::tempdir().expect("a directory");
    let data = |name: &str| mount.path().join(name);
    let swap = |to: &str| {
        std::os::unix::fs::symlink(to, data("..new")).expect("a link");
        fs::rename(data("..new"), data("..data")).expect("a swap");
    };
    fs::create_dir(data("..one")).expect("a directory");
    swap("..one");
    let secret = mount.path().display().to_string();
    let hub = Hub::start_with(Database::Sqlite, &[AT_ONCE, &["--extra-keys-dirs", &secret]].concat()).await;
    let client = hub.client().await;

    let away = Hub::start(Database::Sqlite).await;
    let theirs = signing(&away.client().await).await;
    fs::create_dir(data("..two")).expect("a directory");
    copy(&away.data_dir().join("keys/signing-eddsa.pem"), &data("..two").join("signing-2027.pem"));
    std::os::unix::fs::symlink("..data/signing-2027.pem", data("signing-2027.pem")).expect("a link");
    swap("..two");
    let before = fs::read_dir(hub.data_dir().join("keys")).expect("the keys").count();
    assert_eq!(prepare(&client).await.id(), theirs, "the file that is there, not a new one");
    assert_eq!(fs::read_dir(hub.data_dir().join("keys")).expect("the keys").count(), before);
    try_activate(&client, &theirs).await.expect("an active key");
    release(&client, "p", "a: 1").await;
    let hub = hub.restart_in_order().await;
    assert_eq!(signing(&hub.client().await).await, theirs);
    release(&hub.client().await, "p", "a: 2").await;
}
