//! Many watchers, two servers, and commits that fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use policyhub::client::Watch;
use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, Cursor, WatchOptions, pb, watch};
use tempfile::TempDir;
use tokio::sync::watch as latest;

use crate::harness::calls::{self, activate, publish, try_activate};
use crate::harness::watching::{self, LIVELY, WatchedSet, held, in_force, open, read_to};
use crate::harness::{Database, Hub, on_both_databases};

const WRITERS: usize = 8;
const ACTIVATIONS_PER_WRITER: usize = 25;
const WATCHERS: usize = 50;

fn id(writer: usize) -> String {
    format!("p{writer}")
}

/// Activates one version after the other and reports the number of activations.
async fn writer(client: Client, writer: usize, done: Arc<latest::Sender<usize>>) {
    for round in 0..ACTIVATIONS_PER_WRITER {
        // With an id, so that the SDK retries when the machine is too busy to write in time.
        let request_id = format!("{writer}-{round}");
        let target = pb::ActivateTarget {
            policy: calls::policy(&id(writer)),
            to: Some(To::Version(1 + (round % 2) as i64)),
            expected_active: None,
        };
        let request = pb::ActivateRequest {
            parent: calls::NAMESPACE.to_owned(),
            targets: vec![target],
            reason: "a test".to_owned(),
            request_id,
            ..Default::default()
        };
        client.activate(request).await.expect("an activation");
        done.send_modify(|count| *count += 1);
    }
}

/// Reads a stream up to a revision that is known later; every message is verified and follows the one before.
async fn follow(watch: &mut Watch, mut last: latest::Receiver<i64>) {
    let mut before = watch.set().cursor().map_or(-1, |cursor| cursor.revision);
    loop {
        let until = *last.borrow_and_update();
        let place = watch.set().cursor().map_or(-1, |cursor| cursor.revision);
        assert!(place >= before, "{place} after {before}");
        before = place;
        if until > 0 && place >= until {
            return;
        }
        watching::next(watch).await;
    }
}

/// Repeatedly opens a stream during the writes, drops it, and continues: from a snapshot, or from its cursor.
async fn watcher(
    client: Client,
    number: usize,
    mut done: latest::Receiver<usize>,
    last: latest::Receiver<i64>,
) -> (bool, WatchedSet) {
    let opens_at = number * WRITERS * ACTIVATIONS_PER_WRITER / WATCHERS;
    done.wait_for(|count| *count >= opens_at).await.expect("the writers go on");
    let mut first = open(&client).await;
    for _ in 0..number % 7 {
        watching::next(&mut first).await;
    }
    let resume = first.set().cursor().filter(|_| number % 2 == 1);
    drop(first);
    let options = WatchOptions { resume, ..watching::everything(&client).await };
    let mut second = watch(&client, options).await.expect("a watch");
    follow(&mut second, last).await;
    (resume.is_none(), held(&second))
}

on_both_databases! {
    with LIVELY;

    async fn fifty_watchers_converge_while_everything_moves(hub: Hub) {
        let client = hub.client().await;
        for writer in 0..WRITERS {
            publish(&client, &id(writer), "a: 1").await;
            publish(&client, &id(writer), "a: 2").await;
        }
        let start = watching::head(&client).await;
        let (count, done) = latest::channel(0_usize);
        let (end, last) = latest::channel(0_i64);
        let count = Arc::new(count);
        let mut watchers = Vec::new();
        for number in 0..WATCHERS {
            // A connection is limited to 100 watches; each watcher has its own, as in production.
            let client = hub.client().await;
            watchers.push(tokio::spawn(watcher(client, number, done.clone(), last.clone())));
        }
        let mut level = open(&client).await;
        watching::change(&mut level).await;
        let writers = (0..WRITERS).map(|number| tokio::spawn(writer(client.clone(), number, Arc::clone(&count))));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.expect("a writer that got through");
        }
        let head = watching::head(&client).await;
        assert_eq!(head - start, (WRITERS * ACTIVATIONS_PER_WRITER) as i64);
        end.send_replace(head);
        let newest = in_force(&client).await;
        assert_eq!(newest.len(), WRITERS);
        for watcher in watchers {
            let (whole, set) = watcher.await.expect("a watcher that got through");
            if whole {
                assert_eq!(set, newest);
            } else {
                let wrong: BTreeMap<_, _> = set.iter().filter(|(id, held)| newest.get(*id) != Some(*held)).collect();
                assert!(wrong.is_empty(), "{wrong:?} is not in force");
            }
        }
        assert_eq!(read_to(&mut level, head).await, (start + 1..=head).collect::<Vec<_>>(), "one of them has them all");
        assert_eq!(held(&level), newest);
    }

    /// Given an activation whose statements succeed and whose commit fails, nobody may have seen it, and its revision is used by the next
    /// one.
    async fn what_was_not_committed_is_never_told(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "a", "a: 1").await;
        publish(&client, "a", "a: 2").await;
        activate(&client, "a", 1).await;
        let mut watch = open(&client).await;
        watching::change(&mut watch).await;
        let place = watching::head(&client).await;

        for statement in blocker(&hub) {
            hub.tamper(statement);
        }
        let error = try_activate(&client, "a", 2, None).await.expect_err("the commit fails");
        assert_eq!(error.reason(), "OUTCOME_UNKNOWN", "{error:?}");
        assert_eq!(calls::active(&client, "a").await, 1);
        assert_eq!(watching::head(&client).await, place);
        // Two heartbeats later, the stream is still at the head of the log.
        for _ in 0..2 {
            watching::next(&mut watch).await;
            assert_eq!(watch.set().cursor(), Some(Cursor { epoch: 1, revision: place }));
        }
        hub.tamper(unblock(&hub));

        let revision = activate(&client, "a", 2).await;
        assert_eq!(revision, place + 1, "the place of the lost commit is used, once");
        assert_eq!(watching::activation(&mut watch).await, (revision, vec!["a@2".to_owned()], vec![]));
        assert_eq!(held(&watch), in_force(&client).await);
    }
}

/// Returns SQL with which statements succeed and COMMIT fails.
fn blocker(hub: &Hub) -> &'static [&'static str] {
    if hub.database_url.starts_with("sqlite") {
        return &[
            "CREATE TABLE absent (id INTEGER PRIMARY KEY)",
            "CREATE TABLE blocker (id INTEGER REFERENCES absent (id) DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER block AFTER INSERT ON pointer_changes BEGIN INSERT INTO blocker VALUES (1); END",
        ];
    }
    &[
        "CREATE FUNCTION block() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'blocked'; END $$",
        "CREATE CONSTRAINT TRIGGER block AFTER INSERT ON pointer_changes DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION block()",
    ]
}

fn unblock(hub: &Hub) -> &'static str {
    if hub.database_url.starts_with("sqlite") { "DROP TRIGGER block" } else { "DROP TRIGGER block ON pointer_changes" }
}

/// Starts two servers on one PostgreSQL with one set of keys.
pub async fn two_servers() -> (Hub, Hub, TempDir) {
    let keys = tempfile::tempdir().expect("a temporary directory");
    let keys_dir = keys.path().join("keys").display().to_string();
    let arguments = [LIVELY, &["--keys-dir", &keys_dir]].concat();
    let one = Hub::start_with(Database::Postgres, &arguments).await;
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let other = Hub::start_on(dir, one.database_url.clone(), &arguments).await;
    (one, other, keys)
}

#[tokio::test]
async fn two_servers_of_one_database_tell_the_same() {
    let (one, other, _keys) = two_servers().await;
    let (here, there) = (one.client().await, other.client().await);
    let (mut watch_here, mut watch_there) = (open(&here).await, open(&there).await);
    watching::change(&mut watch_here).await;
    watching::change(&mut watch_there).await;

    publish(&here, "a", "a: 1").await;
    publish(&there, "a", "a: 2").await;
    let mut expected = Vec::new();
    for round in 0..6 {
        // Each change at one server reaches the watcher of the other by polling alone, and a read at once.
        let (writes, reads) = if round % 2 == 0 { (&here, &there) } else { (&there, &here) };
        expected.push(activate(writes, "a", 1 + round % 2).await);
        assert_eq!(calls::active(reads, "a").await, 1 + round % 2, "a read after a write, at the other server");
    }
    let head = *expected.last().expect("six");
    assert_eq!(read_to(&mut watch_here, head).await, expected);
    assert_eq!(read_to(&mut watch_there, head).await, expected);
    assert_eq!(held(&watch_here), held(&watch_there));

    // A stream that ends at one server resumes at the other.
    let mut moved = watching::resume(&there, expected[2]).await;
    assert_eq!(read_to(&mut moved, head).await, expected[3..]);
}

#[tokio::test]
async fn two_servers_write_as_one() {
    let (one, other, _keys) = two_servers().await;
    let clients = [one.client().await, other.client().await];
    publish(&clients[0], "a", "a: 1").await;
    publish(&clients[0], "a", "a: 2").await;
    let mut watch = open(&clients[1]).await;
    watching::change(&mut watch).await;
    let writers = (0..8).map(|number| {
        let client = clients[number % 2].clone();
        tokio::spawn(async move {
            let mut won = 0;
            // Compare-and-set: of all that see the same version, one moves it.
            while won < 5 {
                let seen = calls::active(&client, "a").await;
                match try_activate(&client, "a", 1 + seen % 2, Some(seen)).await {
                    Ok(_) => won += 1,
                    Err(error) => assert_eq!(error.reason(), "EXPECTED_ACTIVE_MISMATCH"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer that got through");
    }
    let log = watching::log(&clients[0]).await;
    let changes: Vec<&pb::PointerChange> = log.iter().flat_map(|event| &event.changes).collect();
    assert_eq!(changes.len(), 40);
    for pair in changes.windows(2) {
        assert_eq!(pair[1].previous_version, pair[0].version, "each moved what the one before had left");
    }
    let head = watching::head(&clients[0]).await;
    assert_eq!(read_to(&mut watch, head).await.len(), 40);
    assert_eq!(held(&watch), in_force(&clients[0]).await);
}
