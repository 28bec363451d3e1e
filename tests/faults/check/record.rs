//! What is recorded while a schedule runs: every call, every message of every stream, and the final state.
//!
//! Times are since the schedule began, from one monotonic clock of one process: they order calls, nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use policyhub::client::Cursor;

/// The policies in force: version and digest by policy id.
pub type Pointers = BTreeMap<String, (i64, String)>;

/// What a write asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// A new version of a policy, with content of this digest.
    Draft { policy: String, digest: String },
    /// Publication of a version, and possibly its activation.
    Publish { policy: String, version: i64, activate: bool },
    /// Pointers to move, each with the version that must be active before, if the request has one.
    Activate { targets: Vec<(String, i64, Option<i64>)> },
    /// Back to the version before.
    Rollback { policy: String },
    /// Removal of a pointer.
    Deactivate { policy: String, expected: Option<i64> },
}

/// The effect of a write in the server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The revision of its event.
    pub revision: i64,
    /// The version it made or published, with its digest.
    pub version: Option<(String, String)>,
}

/// The outcome of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationOutcome {
    /// The server acknowledged it.
    Acknowledged(Effect),
    /// The server refused it with this reason.
    Refused(String),
    /// The outcome is unknown: the error of the transport or the server.
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

/// A write: all its tries have one request id.
#[derive(Debug, Clone)]
pub struct RecordedOperation {
    pub request_id: String,
    pub intent: Intent,
    pub tries: Vec<Try>,
}

/// The outcome of a write, as its writer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    Acknowledged(&'a Effect),
    /// Every try was refused.
    Failed,
    /// Some try may have had its effect, or may still have it.
    Unknown,
}

impl RecordedOperation {
    /// Returns the outcome of the write.
    pub fn fate(&self) -> Fate<'_> {
        if let Some((_, effect)) = self.acknowledgement() {
            return Fate::Acknowledged(effect);
        }
        let refused = |each: &Try| matches!(each.outcome, OperationOutcome::Refused(_));
        if !self.tries.is_empty() && self.tries.iter().all(refused) { Fate::Failed } else { Fate::Unknown }
    }

    /// Returns the first acknowledged try and its effect, which came before it returned.
    pub fn acknowledgement(&self) -> Option<(&Try, &Effect)> {
        self.tries.iter().find_map(|each| match &each.outcome {
            OperationOutcome::Acknowledged(effect) => Some((each, effect)),
            _ => None,
        })
    }

    /// Returns when it was first called.
    pub fn start(&self) -> Duration {
        self.tries.first().map_or(Duration::MAX, |each| each.start)
    }
}

/// What a server states about an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// The answer may be old: the database does not respond.
    pub degraded: bool,
    /// The store may have lost its newest changes, and nobody has accepted that yet.
    pub in_doubt: bool,
}

/// An answered ListActive of the whole set.
#[derive(Debug, Clone)]
pub struct RecordedRead {
    pub replica: usize,
    pub start: Duration,
    pub end: Duration,
    pub cursor: Cursor,
    pub pointers: Pointers,
    pub marks: Marks,
}

/// The content of a stream's message, which was verified before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A whole snapshot.
    Snapshot { cursor: Cursor, pointers: Pointers },
    /// One activation: the pointers that changed, and the policies without one.
    Activation { cursor: Cursor, changed: Pointers, removed: BTreeSet<String> },
    /// A heartbeat, with its cursor if it has one.
    Heartbeat { cursor: Option<Cursor>, degraded: bool },
    /// The server asks the client to reconnect.
    Reconnect,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEnd {
    /// The watcher closed it.
    Left,
    /// The server or the transport ended it, with the server's reason if there is one.
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
    /// The requested policies; empty means all.
    pub filter: BTreeSet<String>,
    pub resume: Option<Cursor>,
    pub messages: Vec<What>,
    pub end: StreamEnd,
    /// When it was requested, when each of its messages came, and when it ended.
    pub opened: Duration,
    pub at: Vec<Duration>,
    pub ended: Duration,
    /// How long its reader waits between two messages.
    pub pace: Duration,
    /// How long it may be silent.
    pub silence_max: Duration,
}

/// What a fault disturbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// The network between clients and a server.
    Clients,
    /// A server.
    Server,
    /// The database, or the network between it and a server.
    Database,
    /// The wall clock of a server.
    Clock,
    /// The machine: the harness itself could not run.
    Harness,
    /// The machine: the threads of a server waited for a processor.
    Processor,
}

/// A time span in which a fault was active.
#[derive(Debug, Clone, Copy)]
pub struct Trouble {
    pub from: Duration,
    /// [`Duration::MAX`] while it lasts.
    pub until: Duration,
    pub place: Where,
    /// `None` means every replica.
    pub replica: Option<usize>,
}

/// A pointer that an event moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMove {
    pub policy: String,
    /// 0 means no version.
    pub version: i64,
    pub digest: String,
    pub previous: i64,
}

/// One event of the log, as read at the end.
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
    /// Whether it has the root of the active set. Earlier versions wrote none, and no subscriber accepts such an event.
    pub has_root: bool,
}

/// A log that an operator gave up: an older copy replaced it.
#[derive(Debug, Clone)]
pub struct Branch {
    /// The log at the moment after which nobody could read more of it.
    pub log: Vec<RecordedEvent>,
    /// When the copy was made: nothing acknowledged before that is given up.
    pub copied: Duration,
    /// When clients could no longer read the log.
    pub replaced: Duration,
    /// When the epoch was raised.
    pub raised: Duration,
}

/// The answer of a replica after everything has settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    pub cursor: Cursor,
    pub pointers: Pointers,
    pub set_digest: String,
}

/// What a watcher held after everything has settled.
#[derive(Debug, Clone)]
pub struct RoleHolder {
    pub watcher: usize,
    pub filter: BTreeSet<String>,
    pub cursor: Option<Cursor>,
    pub pointers: Pointers,
}

/// A shutdown that was requested.
#[derive(Debug, Clone)]
pub struct Drain {
    pub replica: usize,
    pub took: Duration,
    pub allowed: Duration,
    pub success: bool,
}

/// Prefix of the request ids of background workloads: they are in the log, and not among the operations.
pub const BACKGROUND: &str = "background-";

/// An answer that a background workload got.
#[derive(Debug, Clone)]
pub struct Promise {
    pub what: String,
    /// What was found instead; `None` means that it holds.
    pub broken: Option<String>,
}

/// A removed role, as seen by a replica that did not remove it, or by a watch that was open.
#[derive(Debug, Clone)]
pub struct Exclusion {
    pub replica: usize,
    /// When the removal was acknowledged.
    pub revoked: Duration,
    /// When its member was last accepted after that; `None` means never.
    pub last_in: Option<Duration>,
    /// How long after the acknowledgement that may be.
    pub allowed: Duration,
}

/// The records of one namespace in a schedule.
#[derive(Debug, Clone, Default)]
pub struct RecordedHistory {
    pub operations: Vec<RecordedOperation>,
    pub reads: Vec<RecordedRead>,
    /// Reasons of refused reads; an empty text for those that the transport lost.
    pub failed_reads: Vec<String>,
    pub streams: Vec<RecordedStream>,
    pub log: Vec<RecordedEvent>,
    /// Logs that were given up, in order.
    pub branches: Vec<Branch>,
    pub replicas: Vec<Replica>,
    pub holders: Vec<RoleHolder>,
    pub drains: Vec<Drain>,
    pub promises: Vec<Promise>,
    pub exclusions: Vec<Exclusion>,
    /// When faults were active.
    pub troubles: Vec<Trouble>,
    /// How much a server grew because of readers that never read.
    pub stuck_growth_bytes: Option<u64>,
    /// What did not happen in time: a server that did not come back, a watcher that never caught up.
    pub overdue: Vec<String>,
}
