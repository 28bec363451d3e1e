//! The watcher: one stream from before the first change until a checkpoint says that nothing is missing.

use std::time::{Duration, Instant};

use policyhub::client::signing::active_set_digest;
use policyhub::client::{ActiveSetOptions, Client, Cursor, SetChange, Watch, WatchOptions, pb, watch};
use tokio::sync::watch as target;
use tokio::task::JoinHandle;

use super::history::History;
use super::keys::Keys;
use super::replay::{Replay, State};
use super::table::Table;

/// Longest time from the last change until the watcher is level: far more than it takes, so that only a watch that
/// lost something ends here.
const LEVEL_WITHIN: Duration = Duration::from_secs(60);

/// A watcher at work.
#[derive(Debug)]
pub struct Watcher {
    task: JoinHandle<Watched>,
    /// The revision after which it may end; 0 while nobody knows.
    until: target::Sender<i64>,
}

/// What it saw.
#[derive(Debug)]
pub struct Watched {
    /// Every activation, in the order it came: its place and its statement.
    pub activations: Vec<(i64, String)>,
    /// What it holds in the end.
    state: State,
    /// Where it stands in the end.
    cursor: Option<Cursor>,
    heartbeats: usize,
    content_bytes: usize,
    last_activation: Instant,
}

impl Watcher {
    /// Opens the stream of an empty namespace and follows it.
    pub async fn start(client: &Client, keys: &Keys) -> Self {
        let options = WatchOptions {
            namespace: keys.namespace.clone(),
            keys: keys.bundles.clone(),
            learn_keys: true,
            set: ActiveSetOptions { store: Some(keys.store.clone()), ..Default::default() },
            resume: None,
            subscriber_id: "corpus".to_owned(),
            attributes: Default::default(),
        };
        let mut stream = watch(client, options).await.expect("a stream");
        let opened = stream.next().await.expect("verified").expect("a message").1;
        assert!(matches!(opened, SetChange::Opened { .. }), "{opened:?}");
        match stream.next().await.expect("verified").expect("a message").1 {
            SetChange::Replaced { policies, .. } => assert!(policies.is_empty(), "a new namespace has nothing active"),
            other => panic!("the first message must be a whole snapshot, not {other:?}"),
        }
        let (until, target) = target::channel(0);
        Self { task: tokio::spawn(follow(stream, target)), until }
    }

    /// What it saw, once it is level with `revision` and a checkpoint bears it out.
    pub async fn level_at(self, revision: i64) -> Watched {
        self.until.send_replace(revision);
        let level = tokio::time::timeout(LEVEL_WITHIN, self.task).await;
        level.unwrap_or_else(|_| panic!("the watcher did not reach revision {revision}")).expect("the watcher")
    }
}

async fn follow(mut stream: Watch, target: target::Receiver<i64>) -> Watched {
    let mut watched = Watched {
        activations: Vec::new(),
        state: State::new(),
        cursor: None,
        heartbeats: 0,
        content_bytes: 0,
        last_activation: Instant::now(),
    };
    loop {
        let (message, change) = stream.next().await.expect("verified").expect("the stream goes on");
        match (message.message, change) {
            (Some(pb::watch_active_response::Message::Activation(activation)), SetChange::Activated { cursor, .. }) => {
                watched.last_activation = Instant::now();
                watched.content_bytes += activation.bundles.iter().map(|bundle| bundle.content.len()).sum::<usize>();
                watched.activations.push((cursor.revision, activation.statement));
            }
            (_, SetChange::Alive { cursor, is_newest }) => {
                watched.heartbeats += 1;
                let until = *target.borrow();
                if is_newest && until > 0 && cursor.revision >= until {
                    let held = stream.set().policies();
                    let held = held.map(|active| (active.policy.clone(), (active.version, active.digest.clone())));
                    return Watched { state: held.collect(), cursor: Some(cursor), ..watched };
                }
            }
            (_, SetChange::Opened { .. }) => {}
            (_, other) => panic!("a watch of a healthy server has only activations and heartbeats, not {other:?}"),
        }
    }
}

impl Watched {
    /// It saw every activation of the log, once and in order, and holds what the history and the log end with: the set
    /// that GetActive answers, by its digest.
    pub fn check(&self, history: &History, replay: &Replay, set_digest: &str) {
        assert_eq!(self.activations.len(), history.entries.len(), "one activation for each version");
        assert!(self.activations == replay.activations(), "the stream and the log have the same statements in order");
        assert_eq!(self.cursor.map(|cursor| cursor.revision), Some(replay.head()));
        let last = replay.state_at(replay.head());
        assert!(self.state == last, "the watcher holds what the log ends with");
        let newest = history.newest();
        assert_eq!(self.state.len(), newest.len(), "every policy is active");
        for (policy, (version, digest)) in &self.state {
            let expected = newest[policy.as_str()];
            assert_eq!((*version, digest.as_str()), (expected.number, expected.digest.as_str()), "{policy}");
        }
        let held = self.state.iter().map(|(policy, (version, digest))| (policy, *version, digest));
        assert_eq!(active_set_digest(held).as_str(), set_digest, "digest of the set");
    }

    /// What it took.
    pub fn describe(&self, published: Instant, table: &mut Table) {
        let lag_ms = self.last_activation.saturating_duration_since(published).as_millis();
        table.count("activations watched and verified", self.activations.len());
        table.count("  bytes of content in them", self.content_bytes);
        table.count("  heartbeats with a good checkpoint", self.heartbeats);
        table.count("  ms behind after the last answer", usize::try_from(lag_ms).unwrap_or(usize::MAX));
    }
}
