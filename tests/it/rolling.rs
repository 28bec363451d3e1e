//! A rolling restart of three replicas under load: a caller that follows docs/operations/deploy.md on shutdowns sees no error, and no
//! stream loses or repeats an activation.

use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use policyhub::client::pb::activate_target::To;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, ClientError, Code, pb};
use tokio::sync::watch as latest;
use tokio::task::JoinSet;

use crate::harness::calls::{NAMESPACE, activate, policy, publish};
use crate::harness::keys::replica_of;
use crate::harness::watching::{DEADLINE, LIVELY, head, raw};
use crate::harness::{Database, Hub};

const REPLICAS: usize = 3;
/// Tries of one call: each replica restarts once, so a slow caller may come to each just while it does.
const TRIES: usize = 2 * REPLICAS;
const STREAMS: usize = 30;
const READERS: usize = 4;

/// The current addresses of the replicas, as from a name service: a restarting replica keeps its old address until it is back.
#[derive(Clone)]
struct Fleet(Arc<RwLock<Vec<Client>>>);

impl Fleet {
    fn client(&self, replica: usize) -> Client {
        self.0.read().expect("the fleet")[replica % REPLICAS].clone()
    }

    /// Calls one replica after the other, as long as no handler answers or the server is shutting down. An error without
    /// a reason comes from the transport (docs/errors.md); tonic reports some of these as UNKNOWN.
    async fn call<T, Answer>(&self, first: usize, call: impl Fn(Client) -> Answer) -> Result<(usize, T), ClientError>
    where
        Answer: Future<Output = Result<T, ClientError>>,
    {
        let mut replica = first;
        loop {
            match call(self.client(replica)).await {
                Ok(answer) => return Ok((replica % REPLICAS, answer)),
                Err(error) => {
                    let elsewhere = error.reason().is_empty() || error.code() == Code::Unavailable;
                    if !elsewhere || replica + 1 == first + TRIES {
                        return Err(error);
                    }
                    replica += 1;
                }
            }
        }
    }
}

/// What a follower received.
#[derive(Debug, Default)]
struct SeenRevisions {
    errors: Vec<String>,
    revisions: Vec<i64>,
    /// How long it was without a stream, each time.
    without: Vec<Duration>,
}

/// Follows until it has received the last revision, over as many streams as needed.
async fn follow(
    fleet: Fleet,
    mut replica: usize,
    start: pb::Cursor,
    mut last: latest::Receiver<i64>,
    open: Arc<latest::Sender<usize>>,
) -> SeenRevisions {
    let mut is_open = false;
    let (mut seen, mut resume, mut ended) = (SeenRevisions::default(), start, None::<Instant>);
    loop {
        let from = resume;
        let opened = fleet.call(replica, move |client| async move { raw(&client, Some(from)).await }).await;
        let (at, mut stream) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                seen.errors.push(format!("no stream: {error}"));
                return seen;
            }
        };
        replica = at;
        let backoff = loop {
            let message =
                tokio::time::timeout(DEADLINE, stream.message()).await.expect("a message before the deadline");
            if !std::mem::replace(&mut is_open, true) {
                open.send_modify(|count| *count += 1);
            }
            seen.without.extend(ended.take().map(|ended| ended.elapsed()));
            match message.map(|message| message.and_then(|message| message.message)) {
                Ok(Some(Message::Activation(activation))) => {
                    resume = activation.cursor.expect("a cursor");
                    seen.revisions.push(resume.revision);
                }
                Ok(Some(Message::Reconnect(reconnect))) => {
                    let wait = reconnect.backoff.expect("a wait");
                    break Duration::new(wait.seconds.unsigned_abs(), wait.nanos.unsigned_abs());
                }
                Ok(Some(_)) => {}
                other => {
                    seen.errors.push(format!("a stream ended without a word: {other:?}"));
                    return seen;
                }
            }
            let until = *last.borrow_and_update();
            if until > 0 && resume.revision >= until {
                return seen;
            }
        };
        ended = Some(Instant::now());
        match stream.message().await {
            Ok(None) => {}
            other => seen.errors.push(format!("after `reconnect` came {other:?}")),
        }
        tokio::time::sleep(backoff).await;
        replica += 1;
    }
}

/// Reads until the last revision is there, and returns the errors.
async fn read(fleet: Fleet, mut replica: usize, last: latest::Receiver<i64>) -> Vec<String> {
    let mut errors = Vec::new();
    while *last.borrow() == 0 {
        replica += 1;
        let get = |client: Client| async move {
            client.get_active(pb::GetActiveRequest { name: policy("p"), ..Default::default() }).await
        };
        errors.extend(fleet.call(replica, get).await.err().map(|error| format!("a read: {error}")));
    }
    errors
}

/// Activates two versions alternately, with one request id for all tries of one activation.
async fn write(fleet: Fleet, done: latest::Receiver<bool>) -> (usize, Vec<String>) {
    let (mut round, mut errors) = (0, Vec::new());
    while !*done.borrow() {
        round += 1;
        let activation = move |client: Client| async move {
            let version = 1 + (round % 2) as i64;
            let request = pb::ActivateRequest {
                parent: NAMESPACE.to_owned(),
                targets: vec![pb::ActivateTarget {
                    policy: policy("p"),
                    to: Some(To::Version(version)),
                    expected_active: None,
                }],
                reason: "a test".to_owned(),
                request_id: format!("rolling-{round}"),
                ..Default::default()
            };
            client.activate(request).await
        };
        errors.extend(fleet.call(round, activation).await.err().map(|error| format!("a write: {error}")));
    }
    (round, errors)
}

#[tokio::test]
async fn a_rolling_restart_shows_no_error() {
    let first = Hub::start_with(Database::Postgres, LIVELY).await;
    let keys = first.data_dir().join("keys");
    let mut hubs = vec![first];
    for _ in 1..REPLICAS {
        hubs.push(replica_of(&hubs[0], &keys, LIVELY).await);
    }
    let mut clients = Vec::new();
    for hub in &hubs {
        clients.push(hub.client().await);
    }
    publish(&clients[0], "p", "a: 1").await;
    publish(&clients[0], "p", "a: 2").await;
    activate(&clients[0], "p", 1).await;
    let start = pb::Cursor { epoch: 1, revision: head(&clients[0]).await, ..Default::default() };
    let fleet = Fleet(Arc::new(RwLock::new(clients)));
    let (end, last) = latest::channel(0_i64);
    let (stop, done) = latest::channel(false);
    let (open, mut opened) = latest::channel(0);
    let open = Arc::new(open);
    let (mut followers, mut readers) = (JoinSet::new(), JoinSet::new());
    for number in 0..STREAMS {
        followers.spawn(follow(fleet.clone(), number, start, last.clone(), Arc::clone(&open)));
    }
    for number in 0..READERS {
        readers.spawn(read(fleet.clone(), number, last.clone()));
    }
    opened.wait_for(|count| *count == STREAMS).await.expect("every stream");
    let writer = tokio::spawn(write(fleet.clone(), done));

    let mut took = Vec::new();
    for replica in 0..REPLICAS {
        let began = Instant::now();
        let hub = hubs.remove(0).restart_in_order().await;
        fleet.0.write().expect("the fleet")[replica] = hub.client().await;
        hubs.push(hub);
        took.push(began.elapsed());
    }
    stop.send_replace(true);
    let (writes, mut errors) = writer.await.expect("the writer");
    let until = head(&fleet.client(0)).await;
    end.send_replace(until);
    while let Some(read) = readers.join_next().await {
        errors.extend(read.expect("a reader"));
    }
    let (mut without, mut revisions) = (Vec::new(), Vec::new());
    while let Some(seen) = followers.join_next().await {
        let seen = seen.expect("a follower");
        errors.extend(seen.errors);
        revisions.push(seen.revisions);
        without.extend(seen.without);
    }
    println!(
        "{writes} activations, {STREAMS} streams that moved {} times, without a stream for {:?} at most; restarts took {took:?}",
        without.len(),
        without.iter().max()
    );
    assert_eq!(errors, Vec::<String>::new());
    let all: Vec<i64> = (start.revision + 1..=until).collect();
    assert!(revisions.iter().all(|seen| *seen == all), "each activation once, in order: {revisions:?}");
    assert!(writes > 0 && without.len() >= STREAMS, "each stream was on a replica that restarted");
}
