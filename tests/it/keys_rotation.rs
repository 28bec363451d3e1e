//! Rotation and revocation during writes and reads: no bundle is refused, and none is left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use policyhub::client::Watch;
use policyhub::client::pb::activate_target::To;
use policyhub::client::signing::jws::named_key;
use policyhub::client::{Client, SetChange, pb};
use tokio::sync::watch as latest;

use crate::harness::calls::{self, NAMESPACE, publish};
use crate::harness::keys::{AT_ONCE, replicas, revoke, rotate, signing};
use crate::harness::watching::{self, WatchedSet, held, in_force};
use crate::harness::{Hub, on_both_databases};

const WRITERS: usize = 3;
const WATCHERS: usize = 6;
const ROTATIONS: usize = 2;

fn id(writer: usize) -> String {
    format!("p{writer}")
}

/// Activates one version after the other until it is told to stop, and publishes new ones meanwhile.
async fn writer(client: Client, number: usize, ends: Arc<AtomicBool>) -> usize {
    let mut round = 0;
    while !ends.load(Ordering::Relaxed) {
        if round % 5 == 4 {
            publish(&client, &id(number), &format!("a: {round}")).await;
        }
        let target = pb::ActivateTarget {
            policy: calls::policy(&id(number)),
            to: Some(To::Version(1 + (round % 2) as i64)),
            expected_active: None,
        };
        let request = pb::ActivateRequest {
            parent: NAMESPACE.to_owned(),
            targets: vec![target],
            reason: "a test".to_owned(),
            request_id: format!("{number}-{round}"),
            ..Default::default()
        };
        client.activate(request).await.expect("an activation");
        round += 1;
    }
    round
}

/// Reads up to a revision that is known only at the end, and returns the activations it received and the set it holds.
async fn follow(mut watch: Watch, mut last: latest::Receiver<i64>) -> (Vec<i64>, WatchedSet) {
    let mut seen = Vec::new();
    loop {
        let until = *last.borrow_and_update();
        if until > 0 && watch.set().cursor().is_some_and(|cursor| cursor.revision >= until) {
            return (seen, held(&watch));
        }
        match watching::next(&mut watch).await.1 {
            SetChange::Activated { cursor, .. } => seen.push(cursor.revision),
            SetChange::Replaced { .. } => {
                assert!(seen.is_empty(), "a subscriber that keeps up needs no second snapshot")
            }
            _ => {}
        }
    }
}

/// Opens new watches repeatedly, with the keys of that moment.
async fn newcomer(clients: Vec<Client>, ends: Arc<AtomicBool>) -> usize {
    let mut came = 0;
    while !ends.load(Ordering::Relaxed) {
        let client = &clients[came % clients.len()];
        let mut watch = watching::open(client).await;
        watching::change(&mut watch).await;
        assert_eq!(watch.set().by_revoked_keys(), []);
        came += 1;
    }
    came
}

on_both_databases! {
    async fn no_bundle_is_refused_while_keys_change(database: Database) {
        let hubs = replicas(database, AT_ONCE).await;
        let mut clients = Vec::new();
        for hub in &hubs {
            clients.push(hub.client().await);
        }
        let client = clients[0].clone();
        let first = signing(&client).await;
        for writer in 0..WRITERS {
            publish(&client, &id(writer), "a: 1").await;
            publish(&client, &id(writer), "a: 2").await;
            calls::activate(&client, &id(writer), 2).await;
        }
        let start = watching::head(&client).await;
        let (end, last) = latest::channel(0_i64);
        let mut watchers = Vec::new();
        for number in 0..WATCHERS {
            let client: Client = hubs[number % hubs.len()].client().await;
            let mut watch = watching::open(&client).await;
            // All of them begin before the first change.
            watching::read_to(&mut watch, start).await;
            watchers.push(tokio::spawn(follow(watch, last.clone())));
        }
        let ends = Arc::new(AtomicBool::new(false));
        let write = |number: usize| tokio::spawn(writer(clients[number % clients.len()].clone(), number, Arc::clone(&ends)));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        let newcomers = tokio::spawn(newcomer(clients.clone(), Arc::clone(&ends)));

        let mut revoked = vec![first];
        for rotation in 0..ROTATIONS {
            let by = &clients[rotation % clients.len()];
            let next = rotate(by).await;
            let answer = revoke(by, revoked.last().expect("a key"), true).await.expect("a revocation");
            assert!(answer.version_count > 0 && answer.remaining_count == 0, "{answer:?}");
            revoked.push(next);
        }
        let newest = revoked.pop().expect("the one that signs");
        ends.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.await.expect("a writer that got through") > 0);
        }
        assert!(newcomers.await.expect("newcomers that were served") > 0);

        let head = watching::head(&client).await;
        end.send_replace(head);
        let log = watching::log(&client).await;
        let moved = log.iter().filter(|event| !event.changes.is_empty());
        let received: Vec<i64> = moved.map(|event| event.cursor.expect("a cursor").revision).filter(|it| *it > start).collect();
        let resigned = log.iter().filter(|event| event.kind() == pb::EventKind::Resign).count();
        assert!(resigned >= ROTATIONS, "{resigned}");
        let now = in_force(&client).await;
        for watcher in watchers {
            assert_eq!(watcher.await.expect("a watcher that refused nothing"), (received.clone(), now.clone()));
        }
        for bundle in watching::get_set(&client).await.bundles {
            let name = bundle.name.split("/versions/").next().expect("a policy").to_owned();
            let request = pb::GetActiveRequest { name, metadata_only: true, ..Default::default() };
            let one = client.get_active(request).await.expect("a policy");
            for token in [&bundle.manifest, &one.statement] {
                assert_eq!(named_key(token).expect("a key"), newest, "of {revoked:?} nothing is left");
            }
        }
        drop::<Vec<Hub>>(hubs);
    }
}
