//! The key checkpoint in the data directory: a start verifies what the log of `system` has gained since, and no file makes it believe more
//! than the log says.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policyhub::client::pb::KeyState::{Active, Revoked};

use crate::harness::callers::namespace;
use crate::harness::keys::{prepare, revoke, rotate, signing, states};
use crate::harness::watching::DEADLINE;
use crate::harness::{Database, Hub, on_both_databases};
use crate::log_check::off;
use crate::startup::refused;

/// Breaks an event before the head that changes no key.
const BREAK_EVENT: &str = "UPDATE events SET seal = prev_hash WHERE namespace = 'system' AND revision = \
                       (SELECT max(revision) FROM events WHERE namespace = 'system') - 1";

fn checkpoint(hub: &Hub) -> PathBuf {
    hub.data_dir().join("key-checkpoint.jws")
}

fn payload(token: &str) -> serde_json::Value {
    let payload = token.trim().split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

/// Returns the checkpoint that the server wrote after its start.
async fn written(hub: &Hub) -> String {
    let head = hub.tamper("SELECT max(revision) FROM events WHERE namespace = 'system'").parse().expect("a revision");
    let wait = async {
        loop {
            let found = fs::read_to_string(checkpoint(hub)).unwrap_or_default();
            if !found.is_empty() && payload(&found)["revision"].as_i64() == Some(head) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("a checkpoint of the head")
}

/// Stops a server, and returns what another start with its data needs.
async fn stopped(hub: &mut Hub) -> [String; 4] {
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    for name in ["addr.json", "admin.token"] {
        let _ = fs::remove_file(hub.data_dir().join(name));
    }
    ["--database-url", &hub.database_url, "--audit-interval-ms", "0"].map(str::to_owned)
}

on_both_databases! {
    with &["--key-publish-before-use-ms", "0", "--audit-interval-ms", "0"];

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
        let kept = written(&hub).await;
        assert_eq!(payload(&kept)["key_events"].as_array().map(Vec::len), Some(4), "{kept}");
        let arguments = stopped(&mut hub).await;
        let arguments = arguments.each_ref().map(String::as_str);

        off(&hub, BREAK_EVENT);
        let mut without_revocation = payload(&kept);
        without_revocation["key_events"].as_array_mut().expect("events").pop();
        let (head, rest) = kept.split_once('.').expect("a header");
        let signature = rest.split_once('.').expect("a payload").1;
        let forged = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(without_revocation.to_string()));
        for other in [None, Some(String::new()), Some("{}".to_owned()), Some(kept[..kept.len() / 2].to_owned()), Some(forged)] {
            match &other {
                Some(text) => fs::write(checkpoint(&hub), text).expect("written"),
                None => fs::remove_file(checkpoint(&hub)).expect("removed"),
            }
            refused(&hub.data_dir(), &arguments, &["failed to read what the log says of the signing keys"]);
        }

        fs::write(checkpoint(&hub), &kept).expect("written");
        off(&hub, "UPDATE signing_keys SET prepare_time = prepare_time + 1");
        let hub = hub.restart().await;
        let said = hub.log.lock().expect("the log").contains("the rows of signing_keys are not what the log says");
        assert!(said, "the rows are compared at every start");
        let client = hub.client().await;
        assert_eq!(states(&client).await, expected);
        prepare(&client).await;
    }

    /// Given the checkpoint of another store, and one from before a key was revoked, a start says what the log says.
    async fn a_checkpoint_of_before_or_of_elsewhere_is_no_harm(hub: Hub) {
        let first = signing(&hub.client().await).await;
        let mut hub = hub.restart_in_order().await;
        let early = written(&hub).await;
        let client = hub.client().await;
        let second = rotate(&client).await;
        revoke(&client, &first, false).await.expect("a revocation");
        let expected = [(second, Active), (first, Revoked)];
        let elsewhere = written(&Hub::start(Database::Sqlite).await).await;
        for other in [early, elsewhere] {
            hub.kill().await;
            fs::write(checkpoint(&hub), other).expect("written");
            hub = hub.restart().await;
            assert_eq!(states(&hub.client().await).await, expected);
        }
    }
}
