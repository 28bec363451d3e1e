//! Watchers: they follow streams through every fault, or open streams near the head, and verify every message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policyhub::api::pb;
use policyhub::api::pb::watch_active_response::Message;
use policyhub::client::name::{NamespaceId, PolicyId};
use policyhub::client::signing::KeySet;
use policyhub::client::{ActiveSet, ActiveSetOptions, ClientError};
use tokio::time::{sleep, timeout};

use super::calls::{FaultCaller, cursor, pointers, policy_of};
use super::check::live::SILENCE_SLACK;
use super::check::record::{Cursor, Pointers, RecordedStream, RoleHolder, StreamEnd, What};
use super::plan;
use super::recorder::Recorder;
use super::rng::Rng;

/// The reason for a cursor that the log no longer has: a watcher then begins with a snapshot.
const RESUME_POINT_GONE: &str = "RESUME_POINT_GONE";
/// Number of heartbeats that may be missing before a stream counts as silent.
const HEARTBEATS_MISSING: u32 = 3;
/// How often a stream is checked for unexcused silence.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// A stream that is silent for this long is closed, whatever excuses it.
const LEFT_AFTER: Duration = Duration::from_secs(8);
/// Number of messages of a probe, and how far from the newest cursor it begins.
const PROBE_MESSAGES: u64 = 12;
const PROBE_DISTANCE: u64 = 40;
const PROBE_AHEAD: u64 = 3;

/// One watcher.
pub struct WatcherClient {
    pub number: usize,
    pub rng: Rng,
    pub wanted: plan::PlannedWatcher,
    pub recorder: Arc<Recorder>,
    pub callers: Arc<[FaultCaller]>,
    pub keys: KeySet,
    pub heartbeat: Duration,
    /// Whether some replicas run the version before, whose messages this one does not accept.
    pub mixed: bool,
}

impl WatcherClient {
    /// Watches until everything has settled.
    pub async fn run(mut self) {
        let mut set = self.empty();
        while !self.recorder.rested() {
            if self.wanted.probe {
                set = self.empty();
                if self.rng.chance(60) {
                    set = set.resume_at(self.somewhere());
                }
            }
            set.begin_stream();
            let replica = self.rng.below(self.callers.len());
            let stream = self.stream(replica, &mut set).await;
            if stream.end == StreamEnd::Ended(RESUME_POINT_GONE.to_owned()) {
                set = self.empty();
            }
            if matches!(stream.end, StreamEnd::Refused(_)) {
                // The cursor before a refused message may have been wrong: begin again with a snapshot.
                set = self.empty();
            }
            self.recorder.stream(stream);
            let pause = if self.wanted.probe { self.rng.between(20, 250) } else { self.rng.between(5, 100) };
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn empty(&self) -> ActiveSet {
        let id = self.callers[0].namespace.trim_start_matches("namespaces/");
        let namespace = NamespaceId::parse("namespace", id).expect("an id");
        let policies = self.wanted.filter.iter().map(|id| PolicyId::parse("policy", id).expect("an id")).collect();
        let options = ActiveSetOptions { policies, latest: self.wanted.latest, ..ActiveSetOptions::default() };
        ActiveSet::new(namespace, self.keys.clone(), options)
    }

    /// Returns a cursor near the newest, possibly ahead of it.
    fn somewhere(&mut self) -> Cursor {
        let (at, first) = self.recorder.newest();
        let [newest, first] = [at, first].map(|at| u64::try_from(at.revision).unwrap_or(0));
        // In the first epoch, every cursor was used.
        let first = if at.epoch > 1 { first.min(newest) } else { 0 };
        let revision = self.rng.between(newest.saturating_sub(PROBE_DISTANCE).max(first), newest + PROBE_AHEAD);
        Cursor { epoch: at.epoch.max(1), revision: i64::try_from(revision).expect("a revision") }
    }

    /// Runs one stream, from its opening to its end.
    async fn stream(&mut self, replica: usize, set: &mut ActiveSet) -> RecordedStream {
        let (latest, filter) = (self.wanted.latest, self.wanted.filter.clone());
        let resume = set.cursor();
        let pace = Duration::from_millis(self.wanted.pace_ms);
        let mut stream = RecordedStream {
            watcher: self.number,
            replica,
            latest,
            filter,
            resume,
            messages: Vec::new(),
            end: StreamEnd::Left,
            opened: self.recorder.now(),
            at: Vec::new(),
            ended: Duration::MAX,
            pace,
            silence_max: self.heartbeat * HEARTBEATS_MISSING + pace + SILENCE_SLACK,
        };
        self.follow(&mut stream, set).await;
        stream.ended = self.recorder.now();
        stream
    }

    /// Reads the messages of a stream until its end.
    async fn follow(&mut self, stream: &mut RecordedStream, set: &mut ActiveSet) {
        let (replica, latest, resume) = (stream.replica, stream.latest, stream.resume);
        let mode = if latest { pb::WatchMode::Latest } else { pb::WatchMode::All };
        let target = pb::WatchTarget {
            parent: self.callers[replica].namespace.clone(),
            policies: stream.filter.iter().cloned().collect(),
            resume: resume.map(|at| pb::Cursor { epoch: at.epoch, revision: at.revision, ..Default::default() }),
        };
        let request = pb::WatchActiveRequest { targets: vec![target], mode: mode.into(), ..Default::default() };
        let mut sync = self.callers[replica].sync.clone();
        let mut open = match self.unless_silent(stream, sync.watch_active(request)).await {
            Some(Ok(answer)) => answer.into_inner(),
            Some(Err(status)) => {
                stream.end = StreamEnd::Ended(ClientError::from(status).reason().to_owned());
                return;
            }
            None => return,
        };
        let mut messages = if self.wanted.probe { self.rng.between(1, PROBE_MESSAGES) } else { u64::MAX };
        let mut parts = MessageParts::default();
        let mut is_old = None;
        while messages > 0 && !self.recorder.rested() {
            messages -= 1;
            let message = match self.unless_silent(stream, open.message()).await {
                Some(Ok(Some(message))) => message,
                Some(Ok(None)) => {
                    stream.end = StreamEnd::Ended(String::new());
                    return;
                }
                Some(Err(status)) => {
                    stream.end = StreamEnd::Ended(ClientError::from(status).reason().to_owned());
                    return;
                }
                None => return,
            };
            // The version before does not send that a stream is open.
            let is_opened = matches!(message.message, Some(Message::Opened(_)));
            let is_old = *is_old.get_or_insert(self.mixed && !is_opened);
            if !is_old && !self.knows_keys(stream.replica, set, &message).await {
                return;
            }
            let refusal = if is_old { None } else { set.apply(&message, now_seconds()).err() };
            let what = what(&message, &mut parts);
            if is_old && let Some(cursor) = what.as_ref().and_then(cursor_of) {
                // The next stream resumes there.
                *set = self.empty().resume_at(cursor);
            }
            if let Some(what) = what {
                stream.messages.push(what);
                stream.at.push(self.recorder.now());
            }
            if let Some(refusal) = refusal {
                stream.end = StreamEnd::Refused(refusal.to_string());
                return;
            }
            self.tell(set);
            // A reader slower than the heartbeats would never catch up; it need not before the writers stop.
            if !self.recorder.stopped() {
                sleep(stream.pace).await;
            }
        }
    }

    /// Fetches the keys when a message names an unknown one, as the SDK does: once, from the server of the stream. Returns false when that
    /// server could not be reached: then the message is neither accepted nor refused.
    async fn knows_keys(&mut self, replica: usize, set: &mut ActiveSet, message: &pb::WatchActiveResponse) -> bool {
        if !set.names_untrusted_key(message) {
            return true;
        }
        let Ok(keys) = self.callers[replica].keys().await else { return false };
        set.trust(keys.clone());
        self.keys = keys;
        true
    }

    /// Returns the result of `answer`; `None` when the stream is silent for longer than it may be, as the validator counts, or for too long
    /// whatever excuses it.
    async fn unless_silent<T>(&self, stream: &RecordedStream, answer: impl Future<Output = T>) -> Option<T> {
        let since = stream.at.last().copied().unwrap_or(stream.opened);
        let mut answer = std::pin::pin!(answer);
        loop {
            if let Ok(answer) = timeout(LOOK_INTERVAL, answer.as_mut()).await {
                return Some(answer);
            }
            let silent = self.recorder.silent_for(stream.replica, since, !stream.at.is_empty());
            if silent > stream.silence_max || self.recorder.now().saturating_sub(since) > LEFT_AFTER {
                return None;
            }
        }
    }

    /// Tells the recorder where it is.
    fn tell(&self, set: &ActiveSet) {
        // A probe may be ahead of everything that exists, so its cursor does not count.
        if !self.wanted.probe {
            self.recorder.hear(self.number);
            let cursor = set.cursor();
            cursor.into_iter().for_each(|cursor| self.recorder.heard_of(cursor));
            let held = set.policies();
            let pointers =
                held.map(|held| (held.policy.to_string(), (held.version, held.digest.to_string()))).collect();
            let filter = self.wanted.filter.clone();
            self.recorder.hold(RoleHolder { watcher: self.number, filter, cursor, pointers });
        }
    }
}

/// The parts of a message that have arrived so far.
#[derive(Default)]
struct MessageParts {
    pointers: Pointers,
    removed: BTreeSet<String>,
}

/// Returns the content of a message. Parts are collected until it is complete: the last one has the cursor.
fn what(message: &pb::WatchActiveResponse, parts: &mut MessageParts) -> Option<What> {
    match message.message.as_ref()? {
        Message::Snapshot(part) => {
            parts.pointers.extend(pointers(part.bundles.iter()));
            if !part.complete {
                return None;
            }
            Some(What::Snapshot { cursor: cursor(part.cursor.as_ref())?, pointers: std::mem::take(parts).pointers })
        }
        Message::Activation(part) => {
            parts.pointers.extend(pointers(&part.bundles));
            parts.removed.extend(part.tombstones.iter().map(|name| policy_of(name)));
            let cursor = cursor(part.cursor.as_ref())?;
            let MessageParts { pointers: changed, removed } = std::mem::take(parts);
            Some(What::Activation { cursor, changed, removed })
        }
        Message::Heartbeat(heartbeat) => {
            Some(What::Heartbeat { cursor: cursor(heartbeat.cursor.as_ref()), degraded: heartbeat.degraded })
        }
        Message::Reconnect(_) => Some(What::Reconnect),
        // These watchers request no key statements, and one namespace only.
        Message::Opened(_) | Message::KeyStatement(_) | Message::Ended(_) => None,
    }
}

/// Returns the cursor up to which everything was sent.
fn cursor_of(what: &What) -> Option<Cursor> {
    match what {
        What::Snapshot { cursor, .. } | What::Activation { cursor, .. } => Some(*cursor),
        What::Heartbeat { cursor, .. } => *cursor,
        What::Reconnect => None,
    }
}

fn now_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}
