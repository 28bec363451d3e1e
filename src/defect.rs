//! Defects for the fault harness, which proves with them that it detects such faults.
//!
//! Without the feature `planted-defects` there are none: [`planted`] is false at compile time, and the code behind it is removed.
//! Invariant: no release build has the feature (ADR 0018).

#[cfg(all(feature = "planted-defects", not(debug_assertions)))]
compile_error!("`planted-defects` breaks the server on purpose: it is for debug builds of the fault harness alone");

/// The defects. Each is a mistake that was made in a system before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// The revision comes from a counter outside the lock of the namespace.
    RevisionFromSequence = 1,
    /// SQLite syncs only at checkpoints (`synchronous=NORMAL`).
    SqliteNormal,
    /// PostgreSQL answers a COMMIT before it is on disk (`synchronous_commit=off`).
    PostgresCommitOff,
    /// A stream that resumes after r continues after r + 1.
    ResumeOffByOne,
    /// A heartbeat names the head of the log instead of the last event sent to its stream.
    HeartbeatAhead,
    /// Events that a slow subscriber can't be given from memory are dropped.
    DropOnFull,
    /// The snapshot is taken first, then the head is read from which the stream continues.
    SnapshotThenSubscribe,
    /// No answer is stored under a request id.
    NoIdempotency,
    /// A COMMIT without an answer is reported as a failure.
    UnknownIsFailed,
    /// GetActive answers from memory without checking the head.
    CachedGetActive,
    /// A stream sends nothing more after ten revisions: no activation, no heartbeat.
    FrozenStream,
    /// A connection is used again whatever happened to its last transaction, and no commit is checked.
    TransactionLeftOpen,
    /// The row of a schedule moves on after its run, in a transaction of its own, and the run has no request id.
    ScheduleMovedOnLater,
}

impl Defect {
    /// All defects, by name.
    pub const ALL: [(&'static str, Self); 13] = [
        ("revision-from-sequence", Self::RevisionFromSequence),
        ("sqlite-normal", Self::SqliteNormal),
        ("postgres-commit-off", Self::PostgresCommitOff),
        ("resume-off-by-one", Self::ResumeOffByOne),
        ("heartbeat-ahead", Self::HeartbeatAhead),
        ("drop-on-full", Self::DropOnFull),
        ("snapshot-then-subscribe", Self::SnapshotThenSubscribe),
        ("no-idempotency", Self::NoIdempotency),
        ("unknown-is-failed", Self::UnknownIsFailed),
        ("cached-get-active", Self::CachedGetActive),
        ("frozen-stream", Self::FrozenStream),
        ("transaction-left-open", Self::TransactionLeftOpen),
        ("schedule-moved-on-later", Self::ScheduleMovedOnLater),
    ];
}

/// Returns whether a defect is planted.
#[cfg(not(feature = "planted-defects"))]
#[inline]
#[must_use]
pub const fn planted(_: Defect) -> bool {
    false
}

#[cfg(feature = "planted-defects")]
mod plant {
    use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

    use super::Defect;

    static PLANTED: AtomicU8 = AtomicU8::new(0);
    static SEQUENCE: AtomicI64 = AtomicI64::new(0);

    /// Returns whether a defect is planted.
    #[must_use]
    pub fn planted(defect: Defect) -> bool {
        PLANTED.load(Ordering::Relaxed) == defect as u8
    }

    /// Plants a defect in this process. Returns false when there is no defect of that name.
    #[must_use]
    pub fn plant(name: &str) -> bool {
        let found = Defect::ALL.iter().find(|(known, _)| *known == name);
        found.inspect(|(_, defect)| PLANTED.store(*defect as u8, Ordering::Relaxed)).is_some()
    }

    /// Returns the next number of a sequence that starts after `head` and never returns a number twice.
    #[must_use]
    pub fn next_of_sequence(head: i64) -> i64 {
        SEQUENCE.fetch_max(head, Ordering::Relaxed);
        SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(feature = "planted-defects")]
pub use plant::{next_of_sequence, plant, planted};
