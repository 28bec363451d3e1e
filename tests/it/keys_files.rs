//! Where private keys are and are not: directories, mounted Secrets, replicas without one; never a database or a log.

use std::fs;
use std::path::Path;

use policyhub::client::pb;
use tonic::Code;

use crate::harness::calls::{self, refused, release};
use crate::harness::http;
use crate::harness::keys::{AT_ONCE, prepare, replica_of, revoke, rotate, signing, try_activate};
use crate::harness::watching::DEADLINE;
use crate::harness::{Database, Hub, on_both_databases};

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).expect("a copy");
}

/// Asks until `/readyz` answers this; the deadline only ends a test that would wait for ever.
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

/// A replica without the key's file neither activates it nor signs with another one; with the file it goes on.
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
    let key = prepare(&one).await.key_id;
    let error = refused(try_activate(&two, &key).await, Code::FailedPrecondition, "KEY_NOT_READY");
    assert_eq!(error.metadata["key_id"], key);
    try_activate(&one, &key).await.expect("an active key");
    assert!(ready(&second, 503).await.contains(&key));
    let draft = || async {
        two.draft(pb::DraftRequest { request_id: String::new(), ..calls::draft_request("p", "a: 2") }).await
    };
    let error = refused(draft().await, Code::Unavailable, "SIGNING_UNAVAILABLE");
    assert_eq!(error.metadata["key_id"], key);
    assert!(second.log.lock().expect("the log").contains("can't sign: no writes and no checkpoints here"));
    // What is in force is still told, and the other one writes.
    assert_eq!(calls::active(&two, "p").await, 1);
    release(&one, "p", "a: 2").await;

    let file = format!("signing-{key}.pem");
    copy(&first.data_dir().join("keys").join(&file), &keys.path().join(&file));
    ready(&second, 200).await;
    release(&two, "p", "a: 3").await;
}

/// A key that is lost is no end: another one takes its place.
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
    // What the lost one signed is good.
    assert_eq!(calls::get_version(&client, "p", 1).await.version, 1);
}

/// A mounted Secret: a directory behind a link that is swapped as a whole, read without a restart.
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
    assert_eq!(prepare(&client).await.key_id, theirs, "the file that is there, not a new one");
    assert_eq!(fs::read_dir(hub.data_dir().join("keys")).expect("the keys").count(), before);
    try_activate(&client, &theirs).await.expect("an active key");
    release(&client, "p", "a: 1").await;
    let hub = hub.restart_in_order().await;
    assert_eq!(signing(&hub.client().await).await, theirs);
    release(&hub.client().await, "p", "a: 2").await;
}

on_both_databases! {
    /// A store of an earlier version has one key, pinned: it is that one which signs, whatever other files are there.
    async fn a_pinned_key_becomes_the_first(database: Database) {
        let away = Hub::start(Database::Sqlite).await;
        let pinned = signing(&away.client().await).await;
        let mut hub = Hub::start_with(database, AT_ONCE).await;
        let other = signing(&hub.client().await).await;
        hub.kill().await;
        // As it was before keys had states: no event, no row, only the pin.
        let is_sqlite = hub.database_url.starts_with("sqlite");
        for trigger in ["update", "delete"] {
            hub.tamper(&if is_sqlite {
                format!("DROP TRIGGER events_refuse_{trigger}")
            } else {
                format!("DROP TRIGGER events_refuse_{trigger} ON events")
            });
        }
        hub.tamper("DELETE FROM events");
        hub.tamper("DELETE FROM signing_keys");
        hub.tamper("DELETE FROM namespaces WHERE id = 'default'");
        let zeros = if is_sqlite { format!("X'{}'", "00".repeat(32)) } else { format!(r"'\x{}'", "00".repeat(32)) };
        hub.tamper(&format!("UPDATE namespaces SET head_revision = 0, head_hash = {zeros}"));
        hub.tamper(&format!("INSERT INTO store_meta (name, value) VALUES ('signing key', '{pinned}')"));
        // It may not have been written yet.
        let _ = fs::remove_file(hub.data_dir().join("high-water.json"));
        copy(&away.data_dir().join("keys/signing-eddsa.pem"), &hub.data_dir().join("keys/signing-pinned.pem"));
        let hub = hub.restart().await;
        let client = hub.client().await;
        assert_eq!(signing(&client).await, pinned);
        assert_eq!(crate::harness::keys::states(&client).await.len(), 1, "{other} is not known");
        release(&client, "p", "a: 1").await;
        assert_eq!(signing(&hub.restart_in_order().await.client().await).await, pinned);
    }
}

/// Every line of base64 between the lines of a PEM file, and what it decodes to.
fn secrets(dir: &Path) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    for entry in fs::read_dir(dir).expect("the keys") {
        let text = fs::read_to_string(entry.expect("a file").path()).expect("a key");
        let body: Vec<&str> = text.lines().filter(|line| !line.starts_with("-----")).collect();
        // The prefix of PKCS#8 is the same in all of them.
        secrets.push(body.concat().as_bytes()[24..].to_vec());
    }
    secrets
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

on_both_databases! {
    /// Nothing of a private key is in the database, in the log at its loudest, in an answer, or in any other file.
    async fn private_keys_stay_in_their_files(database: Database) {
        let mut hub = Hub::start_with(database, &[AT_ONCE, &["--log-level", "trace"]].concat()).await;
        let client = hub.client().await;
        let first = signing(&client).await;
        release(&client, "p", "a: 1").await;
        rotate(&client).await;
        let answer = revoke(&client, &first, true).await.expect("a revocation");
        let refusal = refused(try_activate(&client, &first).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
        let listed = client.list_signing_keys(pb::ListSigningKeysRequest {}).await.expect("keys");
        // A file that is no key, and one that others may read, are named without their text.
        let keys = hub.data_dir().join("keys");
        let secrets = secrets(&keys);
        assert_eq!(secrets.len(), 4);
        let broken = fs::read_to_string(keys.join("signing-eddsa.pem")).expect("a key").replace("END PRIVATE", "END PUBLIC");
        fs::write(keys.join("signing-broken.pem"), broken).expect("a file");
        prepare(&client).await;
        let limits = fs::read_to_string(format!("/proc/{}/limits", hub.pid())).expect("a process");
        hub.signal("TERM");
        hub.ended().await;

        let log = hub.log.lock().expect("the log").clone();
        assert!(log.contains("signing-broken.pem") && log.contains(r#""level":"TRACE""#), "the log is loud");
        let dump = match database {
            Database::Sqlite => String::new(),
            Database::Postgres => ["signing_keys", "store_meta", "manifests", "versions", "idempotency"]
                .map(|table| hub.tamper(&format!("SELECT t::text FROM {table} t")))
                .concat()
                + &hub.tamper("SELECT convert_from(payload, 'UTF8') || statement FROM events"),
        };
        let mut places = vec![
            ("log".to_owned(), log.into_bytes()),
            ("answers".to_owned(), format!("{answer:?}{refusal:?}{listed:?}").into_bytes()),
            ("tables".to_owned(), dump.into_bytes()),
        ];
        for entry in fs::read_dir(hub.data_dir()).expect("the data directory") {
            let path = entry.expect("a file").path();
            if path.is_file() {
                places.push((path.display().to_string(), fs::read(&path).expect("a file")));
            }
        }
        assert!(database == Database::Postgres || places.iter().any(|(name, bytes)| name.ends_with("policyhub.db") && holds(bytes, b"REVOKE_SIGNING_KEY")));
        for (place, bytes) in &places {
            for secret in &secrets {
                assert!(!holds(bytes, secret), "a private key is in {place}");
            }
        }
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");
    }
}
