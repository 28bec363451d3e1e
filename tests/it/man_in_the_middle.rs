//! A man in the middle of the live connection between a real server and a subscriber with pinned keys: whatever he rewrites, nothing is in
//! force that was not, nothing older than what was verified comes back, and withheld messages are noticed when the last checkpoint expires.

use std::collections::BTreeMap;
use std::sync::Arc;

use policyhub::client::name::NamespaceId;
use policyhub::client::{
    Active, ActiveSetOptions, Client, Keys, State, Status, Target, TokenSource, Watcher, WatcherOptions,
};

use crate::harness::agents::{AGENT, AgentProcess, in_force, status};
use crate::harness::calls::{activate, publish};
use crate::harness::postgres::Cluster;
use crate::harness::subscribing::{at, convergence, eventually};
use crate::harness::tampering_proxy::{TamperingProxy, Trick};
use crate::harness::watching::{DEADLINE, LIVELY, keys};
use crate::harness::{Database, Hub, clock, on_both_databases};

/// Longer than the lifetime of any checkpoint.
const HOUR_SECONDS: i64 = 3_600;
const TRICKS: [Trick; 6] =
    [Trick::Drop, Trick::Replay, Trick::Reorder, Trick::OldBundles, Trick::FarPlaces, Trick::Omit];

/// What was really in force: versions by policy, by revision.
type SetHistory = BTreeMap<i64, BTreeMap<String, i64>>;

async fn watcher(client: &Client, endpoint: &str) -> Watcher {
    Watcher::open(WatcherOptions {
        source: Target::new(endpoint).with_token(TokenSource::Text("whatever".to_owned())).into(),
        namespace: NamespaceId::parse("namespace", "default").expect("an id"),
        keys: Keys::Pinned(keys(client).await),
        set: ActiveSetOptions::default(),
        every_activation: false,
        subscriber_id: "shop-1".to_owned(),
        attributes: BTreeMap::new(),
        directory: None,
    })
    .expect("a watcher")
}

/// Publishes and activates the next version of a policy and returns the revision.
async fn release(client: &Client, history: &mut SetHistory, policy: &str) -> i64 {
    let mut now = history.values().next_back().cloned().unwrap_or_default();
    let content = format!("{policy}: {}", now.get(policy).copied().unwrap_or_default() + 1);
    let version = publish(client, policy, &content).await.version;
    let revision = activate(client, policy, version).await;
    now.insert(policy.to_owned(), version);
    history.insert(revision, now);
    revision
}

/// Returns the set that was in force at a revision.
fn at_revision(history: &SetHistory, revision: i64) -> BTreeMap<String, i64> {
    history.range(..=revision).next_back().map(|(_, set)| set.clone()).unwrap_or_default()
}

fn versions(active: &Active) -> BTreeMap<String, i64> {
    active.policies.values().map(|held| (held.policy.to_string(), held.version)).collect()
}

/// Accepts every offered set until the state is as wanted. Each must have been in force, and none may be older than the one before.
async fn until(watcher: &mut Watcher, history: &SetHistory, what: &str, wanted: impl Fn(&Status) -> bool) {
    let view = watcher.view();
    let taking = async {
        loop {
            let mut seen = view.clone();
            let looking = async {
                while !wanted(&seen.status()) {
                    assert!(seen.changed().await);
                }
            };
            let update = tokio::select! {
                biased;
                update = watcher.next() => update,
                () = looking => return,
            };
            let (revision, found) = (update.active.cursor.revision, versions(&update.active));
            assert_eq!(found, at_revision(history, revision), "{what}: at {revision}");
            let before = view.active().map_or(0, |active| active.cursor.revision);
            assert!(revision >= before, "{what}: from {before} to {revision}");
            watcher.accept().await;
        }
    };
    let taken = tokio::time::timeout(DEADLINE, taking).await;
    taken.unwrap_or_else(|_| panic!("{what}: never; {:?}", view.status()));
}

fn is_ready(status: &Status, revision: i64) -> bool {
    status.state == State::Ready && status.in_force.is_some_and(|at| at.revision >= revision)
}

on_both_databases! {
    with LIVELY;

    async fn he_rewrites_and_nothing_false_is_in_force(hub: Hub) {
        let client = hub.client().await;
        let (man, endpoint) = TamperingProxy::before(client.clone()).await;
        let mut history = SetHistory::new();
        for policy in ["a", "b"] {
            release(&client, &mut history, policy).await;
        }
        for trick in TRICKS {
            let what = format!("{trick:?}");
            let mut watcher = watcher(&client, &endpoint).await;
            let first = release(&client, &mut history, "a").await;
            until(&mut watcher, &history, &what, |status| is_ready(status, first)).await;

            man.play(trick);
            let second = release(&client, &mut history, "b").await;
            // It was refused, or an honest snapshot has repaired it already while the proxy continues.
            until(&mut watcher, &history, &what, |status| {
                let is_refused = matches!(status.state, State::Rejected | State::Diverged);
                man.lies() > 0 && (is_refused || is_ready(status, second))
            })
            .await;
            man.play(Trick::Honest);
            until(&mut watcher, &history, &what, |status| is_ready(status, second)).await;
        }
    }
}

on_both_databases! {
    /// Given a proxy that withholds everything, the agent keeps its set, reports it as stale when its checkpoint expires, and continues
    /// when messages pass again.
    async fn he_holds_everything_back_and_it_shows(database: Database) {
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        clock::build(dir.path());
        let url = match database {
            Database::Sqlite => format!("sqlite://{}", dir.path().join("data/policyhub.db").display()),
            Database::Postgres => Cluster::shared().create_database(),
        };
        let hub = Hub::start_on(dir, url, LIVELY).await;
        let client = hub.client().await;
        let (man, endpoint) = TamperingProxy::before(client.clone()).await;
        let (folder, pins) = (hub.dir.path().join("policies"), hub.dir.path().join("keys.json"));
        std::fs::write(&pins, keys(&client).await.to_jwks().to_string()).expect("written");
        let mut command = hub.cli();
        clock::preload(hub.dir.path(), &mut command);
        command.env("POLICYHUB_SERVER", &endpoint).args(["agent", "--output", "json", "--subscriber-id", AGENT]);
        let agent = AgentProcess::spawn({ command.arg("--jwks").arg(&pins).arg("--dir").arg(&folder); command });
        let mut history = SetHistory::new();
        let first = release(&client, &mut history, "a").await;
        agent.applied(first).await;
        let is = async |state: &str| eventually(state, async || status(&folder)["state"] == *state).await;
        is("READY").await;

        man.play(Trick::Freeze);
        let second = release(&client, &mut history, "a").await;
        // The clocks of both advance, and nothing else happens.
        clock::shift(hub.dir.path(), HOUR_SECONDS);
        is("STALE").await;
        assert_eq!(in_force(&folder).expect("a set").revision, first, "what is in force stays");
        let found = convergence(&client, at(second), std::time::Duration::ZERO).await.expect("an answer");
        assert_eq!(found.applied, 0, "operators see that it has not come");

        man.play(Trick::Honest);
        agent.applied(second).await;
        is("READY").await;
    }
}
