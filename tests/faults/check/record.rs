//! What is recorded while a schedule runs: every call, every message of every stream, and how it all ended.
//!
//! Times are since the schedule began, from one monotonic clock of one process: they order calls, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use policyhub::client::Cursor;

/// Says what is in force: version and digest by id of the policy.
pub type Pointers = BTreeMap<String, (i64, String)>;

/// Says what a writer asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// A new version of a policy, with content of this digest.
    Draft { policy: String, digest: String },
    /// Publication of a version, and perhaps its activation.
    Publish { policy: String, version: i64, activate: bool },
    /// Pointers to move, each with what must be in force before, if that was said.
    Activate { targets: Vec<(String, i64, Option<i64>)> },
    /// Back to the version before.
    Rollback { policy: String },
    /// Removal of a pointer.
    Deactivate { policy: String, expected: Option<i64> },
}

/// Holds what the server said a write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Its place in the log.
    pub revision: i64,
    /// The version it made or published, with its digest.
    pub version: Option<(String, String)>,
}

/// Says how one try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationOutcome {
    /// The server said that it is so.
    Acknowledged(Effect),
    /// The server said, with this reason, that it is not so.
    Refused(String),
    /// Nobody said anything that counts: what the transport or the server said instead.
    Unknown(String),
}

/// One try of a write.
#[derive(Debug, Clone)]
pub struct Try {
    pub replica: usize,
    pub start: Duration,
    pub end: Duration,
    pub outcome: OperationOutcome,
}

/// A write: all its tries carry one request id.
#[derive(Debug, Clone)]
pub struct RecordedOperation {
    pub request_id: String,
    pub intent: Intent,
    pub tries: Vec<Try>,
}

/// Says what became of a write, as its writer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    Acknowledged(&'a Effect),
    /// Every try was refused.
    Failed,
    /// Some try may have had its effect, or may still have it.
    Unknown,
}

impl RecordedOperation {
    /// Returns what became of it.
    pub fn fate(&self) -> Fate<'_> {
        if let Some((_, effect)) = self.acknowledgement() {
            return Fate::Acknowledged(effect);
        }
        let refused = |each: &Try| matches!(each.outcome, OperationOutcome::Refused(_));
        if !self.tries.is_empty() && self.tries.iter().all(refused) { Fate::Failed } else { Fate::Unknown }
    }

    /// Returns the first try that was acknowledged, and with what: the effect came before it returned.
    pub fn acknowledgement(&self) -> Option<(&Try, &Effect)> {
        self.tries.iter().find_map(|each| match &each.outcome {
            OperationOutcome::Acknowledged(effect) => Some((each, effect)),
            _ => None,
        })
    }

    /// Returns when it was called first.
    pub fn start(&self) -> Duration {
        self.tries.first().map_or(Duration::MAX, |each| each.start)
    }
}

/// Holds what a server says about an answer of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// It may be old: the database does not answer.
    pub degraded: bool,
    /// The store may have lost its newest changes, and nobody has accepted that yet.
    pub in_doubt: bool,
}

/// A ListActive of the whole set that was answered.
#[derive(Debug, Clone)]
pub struct RecordedRead {
    pub replica: usize,
    pub start: Duration,
    pub end: Duration,
    pub cursor: Cursor,
    pub pointers: Pointers,
    pub marks: Marks,
}

/// Says what a message of a stream said. It was verified before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A whole snapshot.
    Snapshot { cursor: Cursor, pointers: Pointers },
    /// One activation: what points somewhere new, and what points nowhere any more.
    Activation { cursor: Cursor, changed: Pointers, removed: BTreeSet<String> },
    /// A sign of life, with the place it names, if it names one.
    Heartbeat { cursor: Option<Cursor>, degraded: bool },
    /// The server ends the stream.
    Reconnect,
}

/// Says how a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// The watcher left it.
    Left,
    /// The server or the transport ended it, with this reason of the server, or none.
    Ended(String),
    /// The verifier refused a message.
    Refused(String),
}

/// One stream.
#[derive(Debug, Clone)]
pub struct RecordedStream {
    pub watcher: usize,
    pub replica: usize,
    /// Mode LATEST instead of ALL.
    pub latest: bool,
    /// The policies asked for; empty: all.
    pub filter: BTreeSet<String>,
    pub resume: Option<Cursor>,
    pub messages: Vec<What>,
    pub end: StreamEnd,
    /// Says when it was asked for, when each of its messages came, and when it ended.
    pub opened: Duration,
    pub at: Vec<Duration>,
    pub ended: Duration,
    /// Says how long its reader waits between two messages.
    pub pace: Duration,
    /// Says how long it may be silent.
    pub silence_max: Duration,
}

/// Says what a fault disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// What is between clients and a server.
    Clients,
    /// A server.
    Server,
    /// The database, or what is between it and a server.
    Database,
    /// The wall clock of a server.
    Clock,
    /// The machine: the harness itself could not run.
    Harness,
    /// The machine: the threads of a server waited for a processor.
    Processor,
}

/// A time in which a fault was in force.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    pub from: Duration,
    /// [`Duration::MAX`] while it lasts.
    pub until: Duration,
    pub place: Where,
    /// None: every replica.
    pub replica: Option<usize>,
}

/// A pointer that an event moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMove {
    pub policy: String,
    /// 0: to nowhere.
    pub version: i64,
    pub digest: String,
    pub previous: i64,
}

/// One event of the log, as it was read at the end.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    pub cursor: Cursor,
    pub request_id: String,
    pub payload: Vec<u8>,
    pub prev_hash: Vec<u8>,
    pub hash: Vec<u8>,
    pub moved: Vec<RecordedMove>,
    /// Names and digests of the versions it changed.
    pub versions: Vec<(String, String)>,
    /// Says whether it says the root of the active set. Without, which is how an earlier version wrote it, no subscriber takes it.
    pub has_root: bool,
}

/// A log that an operator gave up: an older copy took its place.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The log as it was when nobody could be told anything more of it.
    pub log: Vec<RecordedEvent>,
    /// Says when the copy was made: nothing that was acknowledged before is given up.
    pub copied: Duration,
    /// Says when clients could be told nothing more of the log.
    pub replaced: Duration,
    /// Says when the epoch was raised.
    pub raised: Duration,
}

/// Holds what a replica said when everything had come to rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub cursor: Cursor,
    pub pointers: Pointers,
    pub set_digest: String,
}

/// Holds what a watcher held when everything had come to rest.
#[derive(Debug, Clone)]
pub struct RoleHolder {
    pub watcher: usize,
    pub filter: BTreeSet<String>,
    pub cursor: Option<Cursor>,
    pub pointers: Pointers,
}

/// An end that was asked for.
#[derive(Debug, Clone)]
pub struct Drain {
    pub replica: usize,
    pub took: Duration,
    pub allowed: Duration,
    pub success: bool,
}

/// Sets how the request ids of background workloads begin: they are in the log, and not among the operations.
pub const BACKGROUND: &str = "background-";

/// Something that a background workload was told.
#[derive(Debug, Clone)]
pub struct Promise {
    pub what: String,
    /// Holds what was there instead; none: it holds.
    pub broken: Option<String>,
}

/// A role that was taken away, as a replica heard of it that was not asked, or as a watch did that was open.
#[derive(Debug, Clone)]
pub struct Exclusion {
    pub replica: usize,
    /// When it was acknowledged that it was taken away.
    pub revoked: Duration,
    /// Says when its member was let in for the last time after that; none: never.
    pub last_in: Option<Duration>,
    /// Says how long after the acknowledgement that may be.
    pub allowed: Duration,
}

/// Everything of one namespace in a schedule.
#[derive(Debug, Clone, Default)]
pub struct RecordedHistory {
    pub operations: Vec<RecordedOperation>,
    pub reads: Vec<RecordedRead>,
    /// Reasons of reads that were refused; empty text for those the transport lost.
    pub failed_reads: Vec<String>,
    pub streams: Vec<RecordedStream>,
    pub log: Vec<RecordedEvent>,
    /// Logs that were given up, in the order in which they were.
    pub branches: Vec<Branch>,
    pub replicas: Vec<Replica>,
    pub holders: Vec<RoleHolder>,
    pub drains: Vec<Drain>,
    pub promises: Vec<Promise>,
    pub exclusions: Vec<Exclusion>,
    /// Says when faults were in force.
    pub troubles: Vec<Trouble>,
    /// Says how much a server grew by readers that never read.
    pub stuck_growth_bytes: Option<u64>,
    /// Holds what did not happen in its time: a server that did not come back, a watcher that never got level.
    pub overdue: Vec<String>,
}
