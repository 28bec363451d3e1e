//! The SDK's watcher with real servers: a runtime that receives sets, reports, and survives restarts of its server.

use std::collections::BTreeMap;
use std::path::Path;

use policyhub::client::name::NamespaceId;
use policyhub::client::{
    ActiveSetOptions, Client, Keys, State, Status, Target, TokenSource, Update, Watcher, WatcherOptions, pb,
};

use crate::epochs::bumped;
use crate::harness::Hub;
use crate::harness::calls::{Revision as _, activate, publish, release, rollback_request};
use crate::harness::on_both_databases;
use crate::harness::proxy::NetworkProxy;
use crate::harness::subscribing::{at, counts, eventually, subscriber};
use crate::harness::watching::{DEADLINE, LIVELY};

const ID: &str = "shop-1";

fn open(hub: &Hub, proxy: &NetworkProxy, directory: &Path) -> Watcher {
    Watcher::open(WatcherOptions {
        source: Target::new(format!("http://127.0.0.1:{}", proxy.port))
            .with_token(TokenSource::File(hub.data_dir().join("admin.token")))
            .into(),
        namespace: NamespaceId::parse("namespace", "default").expect("an id"),
        keys: Keys::Learned,
        set: ActiveSetOptions::default(),
        every_activation: false,
        subscriber_id: ID.to_owned(),
        attributes: BTreeMap::new(),
        directory: Some(directory.to_owned()),
    })
    .expect("a watcher")
}

async fn next(watcher: &mut Watcher) -> Update {
    tokio::time::timeout(DEADLINE, watcher.next()).await.expect("an update before the deadline")
}

/// Drives the watcher until its status is as wanted; no update may be offered meanwhile.
async fn until(watcher: &mut Watcher, what: &str, wanted: impl Fn(&Status) -> bool) {
    let mut view = watcher.view();
    let looking = async {
        while !wanted(&view.status()) {
            assert!(view.changed().await);
        }
    };
    tokio::select! {
        update = watcher.next() => panic!("offered while waiting for {what}: {update:?}"),
        seen = tokio::time::timeout(DEADLINE, looking) => seen.unwrap_or_else(|_| panic!("never: {what}; {:?}", watcher.view().status())),
    }
}

fn version(watcher: &Watcher, policy: &str) -> Option<i64> {
    watcher.view().active().and_then(|active| active.get(policy).map(|policy| policy.version))
}

async fn roll_back(client: &Client, policy: &str) -> i64 {
    client.rollback(rollback_request(policy, 0)).await.expect("rolled back").cursor.revision()
}

on_both_databases! {
    with LIVELY;

    async fn a_runtime_is_told_and_reports_by_itself(hub: Hub) {
        let (client, directory) = (hub.client().await, tempfile::tempdir().expect("a directory"));
        release(&client, "p", "a: 1").await;
        let proxy = NetworkProxy::before(hub.grpc_port()).await;
        let mut watcher = open(&hub, &proxy, directory.path());
        let first = next(&mut watcher).await;
        watcher.accept().await;
        let shop = subscriber(&client, ID).await;
        let place = pb::Cursor { epoch: first.active.cursor.epoch, revision: first.active.cursor.revision, ..Default::default() };
        assert_eq!((shop.applied, shop.digest.as_str()), (Some(place), first.active.digest.as_str()));
        until(&mut watcher, "READY", |status| status.state == State::Ready && status.is_connected).await;

        let newer = publish(&client, "p", "a: 2").await;
        let revision = activate(&client, "p", newer.version).await;
        let second = next(&mut watcher).await;
        assert_eq!(second.active.cursor.revision, revision);
        watcher.reject("a: 2 is not for me").await;
        assert_eq!(counts(&client, revision).await, [0, 1, 0, 0]);
        eventually("the reason is listed", async || {
            let shop = subscriber(&client, ID).await;
            (shop.rejected, shop.reason.as_str()) == (Some(at(revision)), "a: 2 is not for me")
        })
        .await;
        assert_eq!((version(&watcher, "p"), watcher.view().status().state), (Some(1), State::Rejected));
        until(&mut watcher, "REJECTED, though all verifies", |status| status.newest.is_some_and(|newest| newest.revision >= revision) && status.state == State::Rejected).await;

        // Back to the set that it runs with anyway: the runtime has nothing to do, and the server gets a report.
        let back = roll_back(&client, "p").await;
        until(&mut watcher, "READY again", |status| status.state == State::Ready && status.in_force.is_some_and(|place| place.revision == back)).await;
        eventually("applied", async || {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(50), watcher.next()).await;
            subscriber(&client, ID).await.applied == Some(at(back))
        }).await;
    }

    async fn a_runtime_outlives_its_server_and_itself(hub: Hub) {
        let (client, directory) = (hub.client().await, tempfile::tempdir().expect("a directory"));
        release(&client, "p", "a: 1").await;
        let proxy = NetworkProxy::before(hub.grpc_port()).await;
        let mut watcher = open(&hub, &proxy, directory.path());
        next(&mut watcher).await;
        watcher.accept().await;
        let mut hub = hub;
        hub.kill().await;
        until(&mut watcher, "a lost stream", |status| !status.is_connected).await;
        assert_eq!(version(&watcher, "p"), Some(1), "an outage takes nothing away");
        drop(watcher);

        // The process restarts while the server is still unreachable.
        let mut watcher = open(&hub, &proxy, directory.path());
        assert!(next(&mut watcher).await.from_disk);
        watcher.accept().await;
        assert_eq!((version(&watcher, "p"), watcher.view().status().state), (Some(1), State::Stale));
        let hub = hub.restart().await;
        proxy.aim(hub.grpc_port());
        until(&mut watcher, "READY", |status| status.state == State::Ready).await;
        let client = hub.client().await;
        let newer = publish(&client, "p", "a: 2").await;
        activate(&client, "p", newer.version).await;
        assert_eq!(next(&mut watcher).await.active.get("p").map(|policy| policy.version), Some(2));
        watcher.accept().await;
        assert_eq!(version(&watcher, "p"), Some(2));
    }

    async fn a_restored_backup_with_a_raised_epoch_is_followed(hub: Hub) {
        // The refusal of the older history is in `epochs.rs`. Here, a watcher with a saved state follows a bump.
        let (client, directory) = (hub.client().await, tempfile::tempdir().expect("a directory"));
        release(&client, "p", "a: 1").await;
        let proxy = NetworkProxy::before(hub.grpc_port()).await;
        let mut watcher = open(&hub, &proxy, directory.path());
        next(&mut watcher).await;
        watcher.accept().await;
        drop(watcher);
        let mut hub = hub;
        hub.signal("TERM");
        hub.ended().await;
        bumped(&hub, &["--accept-loss", "--force"], 2, 2).await;
        let hub = hub.restart().await;
        proxy.aim(hub.grpc_port());
        let mut watcher = open(&hub, &proxy, directory.path());
        next(&mut watcher).await;
        watcher.accept().await;
        until(&mut watcher, "READY in the new epoch", |status| status.state == State::Ready && status.newest.is_some_and(|newest| newest.epoch == 2)).await;
        assert_eq!(version(&watcher, "p"), Some(1));
    }
}
