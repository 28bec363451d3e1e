//! Watchers of the SDK over the connections of one client: many namespaces, as a stream, and with rejections that are withdrawn.

use futures_util::StreamExt as _;
use policyhub_client::{Client, Keys, State, TokenSource, Update, Watcher};

use crate::harness::calls::{release, rollback_request};
use crate::harness::metrics::{counted, text};
use crate::harness::proxy::NetworkProxy;
use crate::harness::subscribing::{eventually, subscriber};
use crate::harness::watching::{DEADLINE, LIVELY, keys};
use crate::harness::{Database, Hub, callers, on_both_databases};

fn client(hub: &Hub) -> Client {
    client_at(hub, &hub.grpc)
}

fn client_at(hub: &Hub, endpoint: &str) -> Client {
    let token = TokenSource::File(hub.data_dir().join("admin.token"));
    Client::builder().endpoint(endpoint).token(token).build().expect("a client")
}

async fn next(watcher: &mut Watcher) -> Update {
    tokio::time::timeout(DEADLINE, watcher.next()).await.expect("an update before the deadline")
}

fn version(update: &Update) -> i64 {
    update.active.get("p").expect("the policy").version
}

on_both_databases! {
    async fn a_rejection_is_taken_back(database: Database) {
        let hub = Hub::start_with(database, LIVELY).await;
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        let shop = client(&hub).namespace("default").expect("an id");
        let mut watcher = shop.watcher().subscriber_id("shop-1").keys(Keys::Pinned(keys(&admin).await)).open().expect("open");
        assert_eq!(version(&next(&mut watcher).await), 1);
        watcher.accept().await;
        assert!(!watcher.reconsider(), "nothing is rejected");
        release(&admin, "p", "a: 2").await;
        assert_eq!(version(&next(&mut watcher).await), 2);
        watcher.reject("its data is not here yet").await;
        assert_eq!(watcher.view().status().state, State::Rejected);
        assert_eq!(subscriber(&admin, "shop-1").await.reason, "its data is not here yet");
        assert!(watcher.reconsider());
        assert_eq!(watcher.view().status().state, State::Behind);
        assert_eq!(version(&next(&mut watcher).await), 2, "the same set again");
        watcher.accept().await;
        assert_eq!(watcher.view().status().state, State::Ready);
        // A replica gathers reports that are not rejections before it writes them.
        let is_applied = async || subscriber(&admin, "shop-1").await.reason.is_empty();
        eventually("the report that it was taken", is_applied).await;
        assert!(!watcher.reconsider(), "it was taken");
    }

    async fn a_watcher_is_a_stream(database: Database) {
        let hub = Hub::start_with(database, LIVELY).await;
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        let shop = client(&hub).namespace("default").expect("an id");
        let watcher = shop.watcher().subscriber_id("shop-1").open().expect("open");
        let mut offers = watcher.into_stream();
        let view = offers.view();
        let mut next = async || {
            let offer = tokio::time::timeout(DEADLINE, offers.next()).await.expect("an offer before the deadline");
            offer.expect("it does not end")
        };
        let first = next().await;
        assert_eq!(version(&first.update), 1);
        assert!(view.active().is_none(), "it was not taken");
        first.accept();
        release(&admin, "p", "a: 2").await;
        let second = next().await;
        assert_eq!((version(&second.update), version_in_force(&view)), (2, Some(1)));
        second.reject("too strict");
        admin.rollback(rollback_request("p", 1)).await.expect("rolled back");
        release(&admin, "p", "a: 3").await;
        let third = next().await;
        assert_eq!((version(&third.update), version_in_force(&view)), (3, Some(1)));
        drop(third);
        release(&admin, "p", "a: 4").await;
        let fourth = next().await;
        assert_eq!(version(&fourth.update), 4, "what was not answered is neither taken nor offered again");
        assert_eq!(version_in_force(&view), Some(1));
    }
}

fn version_in_force(view: &policyhub_client::View) -> Option<i64> {
    view.active().and_then(|active| active.get("p").map(|policy| policy.version))
}

/// Number of namespaces that are watched over one client: more than one connection carries.
const MANY: usize = 150;

#[tokio::test]
async fn many_namespaces_are_watched_over_one_client() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let admin = hub.client().await;
    let proxy = NetworkProxy::before(hub.grpc_port()).await;
    let client = client_at(&hub, &format!("http://127.0.0.1:{}", proxy.port));
    let ids: Vec<String> = (0..MANY).map(|at| format!("team-{at}")).collect();
    for id in &ids {
        callers::namespace(&admin, id).await;
        let team = client.namespace(id).expect("an id");
        team.draft("p", "application/yaml", format!("team: {id}")).allow_missing().send().await.expect("a draft");
        team.stage("p", 1).send().await.expect("staged");
        team.publish("p", 1).activate("launch").send().await.expect("in force");
    }
    let mut watching = tokio::task::JoinSet::new();
    for id in ids {
        let watcher = client.namespace(&id).expect("an id").watcher().subscriber_id("relay");
        watching.spawn(async move {
            let mut watcher = watcher.open().expect("open");
            let update = next(&mut watcher).await;
            let content = update.active.get("p").and_then(|policy| policy.content.clone()).expect("a content");
            assert_eq!(content, format!("team: {id}"));
            watcher.accept().await;
            (id, watcher)
        });
    }
    let mut watchers = watching.join_all().await;
    // Calls still work beside so many watches.
    let called = tokio::time::timeout(DEADLINE, client.namespace("team-7").expect("an id").policy("p")).await;
    called.expect("an answer").expect("a policy");
    let connections = connections_of(&hub);
    // Three for the watches, one of them shared with the calls, and the one of the test itself.
    assert!(connections <= 4.0, "{connections} connections");

    // The server restarts: all watches continue, over few new connections.
    drop(admin);
    let hub = hub.restart().await;
    proxy.aim(hub.grpc_port());
    for (_, watcher) in &mut watchers {
        let back = tokio::time::timeout(DEADLINE, async {
            let mut view = watcher.view();
            tokio::select! {
                update = watcher.next() => panic!("offered again: {update:?}"),
                () = async { while !view.status().is_connected || view.status().state != State::Ready { assert!(view.changed().await); } } => {}
            }
        });
        back.await.expect("back before the deadline");
    }
    eventually("few connections", async || connections_of(&hub) <= 3.0).await;
}

/// Returns the number of open connections of a server.
fn connections_of(hub: &Hub) -> f64 {
    counted(&text(hub), "policyhub_connections_open").expect("the gauge")
}
