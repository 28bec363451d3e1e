//! The watcher: one stream from before the first change until a checkpoint shows that nothing is missing.

use std::time::{Duration, Instant};

use policyhub::client::signing::active_set_digest;
use policyhub::client::{ActiveSetOptions, Client, Cursor, SetChange, Watch, WatchOptions, pb, watch};
use tokio::sync::watch as target;
use tokio::task::JoinHandle;

use super::history::CorpusHistory;
use super::keys::CorpusKeys;
use super::replay::{CorpusReplay, ReplayState};
use super::table::CorpusTable;

/// Longest time from the last change until the watcher has caught up: far more than it takes, so that only a watch that lost something
/// fails here.
const LEVEL_WITHIN: Duration = Duration::from_secs(60);

/// A running watcher.
#[derive(Debug)]
pub struct CorpusWatcher {
    task: JoinHandle<CorpusWatched>,
    /// The revision after which it may end; 0 while unknown.
    until: target::Sender<i64>,
}

/// What the watcher received.
#[derive(Debug)]
pub struct CorpusWatched {
    /// Every activation in order of arrival: its revision and its statement.
    pub activations: Vec<(i64, String)>,
    /// The active set at the end.
    state: ReplayState,
    /// The cursor at the end.
    cursor: Option<Cursor>,
    heartbeats: usize,
    content_bytes: usize,
    last_activation: Instant,
}

impl CorpusWatcher {
    /// Opens the stream of an empty namespace and follows it.
    pub async fn start(client: &Client, keys: &CorpusKeys) -> Self {
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

    /// Returns what it received, once it has caught up with `revision` and a checkpoint confirms it.
    pub async fn level_at(self, revision: i64) -> CorpusWatched {
        self.until.send_replace(revision);
        let level = tokio::time::timeout(LEVEL_WITHIN, self.task).await;
        level.unwrap_or_else(|_| panic!("the watcher did not reach revision {revision}")).expect("the watcher")
    }
}

async fn follow(mut stream: Watch, target: target::Receiver<i64>) -> CorpusWatched {
    let mut watched = CorpusWatched {
        activations: Vec::new(),
        state: ReplayState::new(),
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
                    return CorpusWatched { state: held.collect(), cursor: Some(cursor), ..watched };
                }
            }
            (_, SetChange::Opened { .. }) => {}
            (_, other) => panic!("a watch of a healthy server has only activations and heartbeats, not {other:?}"),
        }
    }
}

impl CorpusWatched {
    /// Checks that it received every activation of the log, once and in order, and that it ends with the set of the history and the log,
    /// which GetActive answers too, by its digest.
    pub fn check(&self, history: &CorpusHistory, replay: &CorpusReplay, set_digest: &str) {
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

    /// Adds rows about the stream to the table.
    pub fn describe(&self, published: Instant, table: &mut CorpusTable) {
        let lag_ms = self.last_activation.saturating_duration_since(published).as_millis();
        table.count("activations watched and verified", self.activations.len());
        table.count("  bytes of content in them", self.content_bytes);
        table.count("  heartbeats with a good checkpoint", self.heartbeats);
        table.count("  ms behind after the last answer", usize::try_from(lag_ms).unwrap_or(usize::MAX));
    }
}
