//! Subscribers with pinned keys while keys rotate: by key statements, by a file that changes, over restarts, and when they come late.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use policyhub::client::name::NamespaceId;
use policyhub::client::{
    ActiveSetOptions, Client, Keys, PinnedFile, State, Target, TokenSource, WatchOptions, Watcher, WatcherOptions, pb,
    watch_pinned,
};

use crate::harness::agents::{AgentProcess, folder, status};
use crate::harness::calls::{activate, publish};
use crate::harness::certificates::replace;
use crate::harness::http::get;
use crate::harness::keys::{AT_ONCE, revoke, rotate, signing};
use crate::harness::subscribing::{at, convergence, counts, eventually};
use crate::harness::watching::{DEADLINE, everything, next};
use crate::harness::{Hub, on_both_databases};

/// Publishes, activates and returns the revision.
async fn release(client: &Client, content: &str) -> i64 {
    let version = publish(client, "p", content).await.version;
    activate(client, "p", version).await
}

/// Returns the current keys, as an operator publishes them.
fn jwks(hub: &Hub) -> String {
    let listed = hub.cli().args(["keys", "list", "--jwks"]).output().expect("the binary runs");
    assert!(listed.status.success());
    String::from_utf8(listed.stdout).expect("JSON")
}

/// Writes a file with the current keys and returns its path.
fn pins(hub: &Hub) -> PathBuf {
    let path = hub.dir.path().join("pins.json");
    replace(&path, &jwks(hub));
    path
}

async fn says(folder: &Path, what: &str) {
    let said = async || status(folder)["problem"].as_str().is_some_and(|problem| problem.contains(what));
    eventually(what, said).await;
}

/// Returns the content of a key file reduced to one key.
fn only(file: &Path, key_id: &str) -> String {
    let mut keys: serde_json::Value = serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON");
    keys["keys"].as_array_mut().expect("keys").retain(|key| key["kid"] == key_id);
    keys.to_string()
}

async fn is(folder: &Path, state: &str) {
    let path = folder.join("status.json");
    eventually(state, async || path.exists() && status(folder)["state"] == state).await;
}

fn watcher(hub: &Hub, keys: Keys) -> Watcher {
    Watcher::open(WatcherOptions {
        source: Target::new(&hub.grpc).with_token(TokenSource::File(hub.data_dir().join("admin.token"))).into(),
        namespace: NamespaceId::parse("namespace", "default").expect("an id"),
        keys,
        set: ActiveSetOptions::default(),
        every_activation: false,
        subscriber_id: String::new(),
        attributes: BTreeMap::new(),
        directory: None,
    })
    .expect("a watcher")
}

on_both_databases! {
    with AT_ONCE;

    async fn a_pinned_agent_follows_rotations_and_a_revocation(hub: Hub) {
        let (client, folder, pins) = (hub.client().await, folder(&hub), pins(&hub));
        let first = signing(&client).await;
        let flags = ["--jwks", pins.to_str().expect("a path")];
        let agent = AgentProcess::start(&hub, &folder, &flags);
        agent.applied(release(&client, "a: 1").await).await;
        let second = rotate(&client).await;
        agent.applied(release(&client, "a: 2").await).await;
        revoke(&client, &first, true).await.expect("a revocation");
        agent.applied(release(&client, "a: 3").await).await;
        is(&folder, "READY").await;
        assert!(agent.end("TERM").await.success());

        // Its file has only the first key, which is revoked: the keys it followed stay trusted.
        rotate(&client).await;
        let newest = release(&client, "a: 4").await;
        let agent = AgentProcess::start(&hub, &folder, &flags);
        agent.applied(newest).await;
        is(&folder, "READY").await;
        assert_eq!(agent.count("rejected"), 0);
        let kept = fs::read_to_string(folder.join(".agent/watcher/pins.json")).expect("what it followed");
        assert!(kept.contains(&first) && !kept.contains(&second), "the file is kept by its ids, and statements whole");
    }

    async fn a_strict_agent_follows_its_file_alone(hub: Hub) {
        let (client, folder, pins) = (hub.client().await, folder(&hub), pins(&hub));
        let agent = AgentProcess::start(&hub, &folder, &["--pin-strict", "--jwks", pins.to_str().expect("a path")]);
        let first = release(&client, "a: 1").await;
        agent.applied(first).await;
        eventually("it is counted", async || counts(&client, first).await == [1, 0, 0, 0]).await;

        // A heartbeat by the new key proves nothing to it, and it reports that.
        rotate(&client).await;
        is(&folder, "REJECTED").await;
        // Between two of its streams it is offline and counts as gone.
        eventually("operators see why", async || {
            let found = convergence(&client, at(first), Duration::ZERO).await.expect("an answer");
            let named = found.rejected_subscribers.iter().chain(&found.gone_subscribers);
            found.applied == 0 && named.into_iter().any(|each| each.reason.contains("key is not known"))
        })
        .await;
        let second = release(&client, "a: 2").await;
        assert_eq!(counts(&client, second).await[0], 0);

        // An incomplete file changes nothing; the complete one is read without a restart.
        let whole = jwks(&hub);
        fs::write(&pins, &whole[..whole.len() / 2]).expect("written");
        is(&folder, "REJECTED").await;
        replace(&pins, &whole);
        agent.applied(second).await;
        is(&folder, "READY").await;
        eventually("operators see that too", async || counts(&client, second).await == [1, 0, 0, 0]).await;
    }

    async fn who_comes_late_is_led_from_its_key_to_the_newest(hub: Hub) {
        let client = hub.client().await;
        let (old, strict) = (pins(&hub), hub.dir.path().join("strict.json"));
        fs::copy(&old, &strict).expect("copied");
        let first = signing(&client).await;
        rotate(&client).await;
        rotate(&client).await;
        revoke(&client, &first, true).await.expect("a revocation");
        let newest = release(&client, "a: 1").await;

        let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys");
        assert_eq!(listed.key_statements.len(), 3, "the last of each key that signed one");
        let (status, _, body) = get(&hub.http, "/.well-known/key-statements.json").expect("an answer");
        let beside: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &beside["key_statements"]), (200, &serde_json::json!(listed.key_statements)));

        let mut late = watcher(&hub, Keys::PinnedFile(PinnedFile::open(&old, false).expect("keys")));
        let update = tokio::time::timeout(DEADLINE, late.next()).await.expect("a set by a key that it was led to");
        assert_eq!(update.active.cursor.revision, newest);
        let mut lost = watcher(&hub, Keys::PinnedFile(PinnedFile::open(&strict, true).expect("keys")));
        let mut view = lost.view();
        let looking = async { while view.status().state != State::Rejected { assert!(view.changed().await); } };
        tokio::select! {
            update = lost.next() => panic!("taken by a key that the file has not: {update:?}"),
            seen = tokio::time::timeout(DEADLINE, looking) => seen.expect("it refuses"),
        }
    }

    /// Given a file that changes during a stream, the file takes precedence, and the statements that lead to the current keys are requested
    /// again: no stream ends, and nothing is refused.
    async fn a_file_that_changes_on_an_open_stream_is_led_on_again(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        let second = rotate(&client).await;
        let both = pins(&hub);
        let options = WatchOptions { learn_keys: false, ..everything(&client).await };
        let file = PinnedFile::open(&both, false).expect("keys");
        let mut followed = watch_pinned(&client, options, file).await.expect("a watch");
        let third = rotate(&client).await;
        while followed.set().keys().get(&third).is_none() {
            next(&mut followed).await;
        }

        // The statement that leads from the second key to the third has already been received.
        replace(&both, &only(&both, &second));
        while followed.set().keys().get(&first).is_some() {
            next(&mut followed).await;
        }
        for _ in 0..3 {
            next(&mut followed).await;
        }
        let trusted = followed.set().keys();
        assert!(trusted.get(&second).is_some() && trusted.get(&third).is_some(), "the key that signs is known");
        assert!(trusted.is_revoked(&first), "the file dropped the first key, though it is only retired");
    }

    /// Given a disk that can't save the followed keys, this is reported, and saving is tried again with each message.
    async fn keys_that_could_not_be_saved_are_saved_later(hub: Hub) {
        let (client, folder, pins) = (hub.client().await, folder(&hub), pins(&hub));
        let agent = AgentProcess::start(&hub, &folder, &["--jwks", pins.to_str().expect("a path")]);
        agent.applied(release(&client, "a: 1").await).await;
        let kept = folder.join(".agent/watcher/pins.json");
        fs::remove_file(&kept).expect("what it keeps");
        fs::create_dir(&kept).expect("in its place");
        rotate(&client).await;
        agent.applied(release(&client, "a: 2").await).await;
        says(&folder, "failed to save the keys").await;
        // Heartbeats that verify do not clear the error.
        agent.applied(release(&client, "a: 3").await).await;
        says(&folder, "failed to save the keys").await;
        fs::remove_dir(&kept).expect("removed");
        eventually("it is kept", async || fs::read_to_string(&kept).is_ok_and(|text| text.contains("ey"))).await;
        eventually("and nothing is wrong", async || status(&folder)["problem"] == "").await;
        is(&folder, "READY").await;
    }
}
