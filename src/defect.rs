//! Defects planted on purpose, so that the fault harness can prove that it would see them.
//!
//! Without the feature `planted-defects` none exists: [`planted`] is false when it is compiled, and the code behind it is
//! gone. Invariant: no release build has the feature (ADR 0018).

#[cfg(all(feature = "planted-defects", not(debug_assertions)))]
compile_error!("`planted-defects` breaks the server on purpose: it is for debug builds of the fault harness alone");

/// What can be broken. Each is a mistake that somebody made before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// The revision comes from a counter outside the lock of the namespace.
    RevisionFromSequence = 1,
    /// SQLite syncs at checkpoints alone (`synchronous=NORMAL`).
    SqliteNormal,
    /// PostgreSQL answers a COMMIT before it is on disk (`synchronous_commit=off`).
    PostgresCommitOff,
    /// A stream that resumes after r goes on after r + 1.
    ResumeOffByOne,
    /// A heartbeat names the head of the log instead of what its stream was sent.
    HeartbeatAhead,
    /// What a slow subscriber can't be given from memory is dropped.
    DropOnFull,
    /// The snapshot is taken first, then the head is read where the stream goes on.
    SnapshotThenSubscribe,
    /// No answer is kept under a request id.
    NoIdempotency,
    /// A COMMIT without an answer is called a failure.
    UnknownIsFailed,
    /// GetActive answers from memory without a look at the head.
    CachedGetActive,
    /// A stream says nothing more after its tenth message: no activation, no heartbeat.
    FrozenStream,
    /// A connection is used again whatever became of its last transaction, and no commit is looked at.
    TransactionLeftOpen,
}

impl Defect {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 12] = [
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
    ];
}

/// Whether a defect is there.
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

    /// Whether a defect is there.
    #[must_use]
    pub fn planted(defect: Defect) -> bool {
        PLANTED.load(Ordering::Relaxed) == defect as u8
    }

    /// Breaks this process. False: there is no defect of that name.
    #[must_use]
    pub fn plant(name: &str) -> bool {
        let found = Defect::ALL.iter().find(|(known, _)| *known == name);
        found.inspect(|(_, defect)| PLANTED.store(*defect as u8, Ordering::Relaxed)).is_some()
    }

    /// The next number of a sequence that starts after `head` and never gives a number twice.
    #[must_use]
    pub fn next_of_sequence(head: i64) -> i64 {
        SEQUENCE.fetch_max(head, Ordering::Relaxed);
        SEQUENCE.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(feature = "planted-defects")]
pub use plant::{next_of_sequence, plant, planted};
