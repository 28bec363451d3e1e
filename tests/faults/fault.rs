//! What can strike: every kind of fault with what it strikes, and its name in the summary.
//!
//! Boundary: pure names and numbers; `inject` does them.

/// Bytes a second of a throttled link.
pub const THROTTLE_BYTES_PER_SECOND: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Which wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Between all clients and a replica.
    Clients(usize),
    /// Between a replica and PostgreSQL.
    Database(usize),
}

/// Which calls on the files of SQLite fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// A write fails with this errno.
    Write(i32),
    /// A write writes half of its bytes, and the writes after it fail with this errno.
    ShortWrite(i32),
    /// A flush fails with this errno.
    Sync(i32),
    /// A change of a file's length fails with EIO while the server ends and starts.
    Truncate,
    /// The disk is full: every write fails until the fault ends.
    Full,
}

/// What strikes. What has a length ends by itself or is ended by the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of a server; it starts again on the same ports.
    KillServer(usize),
    /// SIGSTOP of a server, then SIGCONT.
    PauseServer(usize),
    /// SIGTERM of a server under load; it starts again.
    DrainServer(usize),
    /// kill -9 of every process of PostgreSQL; it starts again.
    KillPostgres,
    /// SIGSTOP of every process of PostgreSQL, then SIGCONT.
    PausePostgres,
    /// Every connection to the database is ended by PostgreSQL itself.
    TerminateBackends,
    /// The machine loses power: what was not synced is gone. SQLite.
    PowerCut,
    /// Calls on SQLite's files fail, from the n-th on, so many of them.
    Disk { error: DiskError, first: u32, count: u32 },
    /// Every connection of a link is closed (FIN).
    Cut(Link),
    /// Every connection of a link is reset (RST).
    Reset(Link),
    /// A link stays open and carries nothing.
    Blackhole(Link),
    /// Every piece comes later by so many milliseconds.
    Delay(Link, u64),
    /// A link carries [`THROTTLE_BYTES_PER_SECOND`].
    Throttle(Link),
    /// The next COMMIT never reaches PostgreSQL, and its connection is reset.
    LoseCommit(usize),
    /// The next COMMIT reaches PostgreSQL, its answer never comes back.
    LoseCommitAnswer(usize),
    /// Every one of so many streams is cut at once and comes back.
    Storm(usize),
    /// So many readers open a watch and never read.
    Stuck(usize),
}

impl Fault {
    /// Its name in the summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillServer(_) => "kill -9 server",
            Self::PauseServer(_) => "SIGSTOP server",
            Self::DrainServer(_) => "SIGTERM server",
            Self::KillPostgres => "kill -9 PostgreSQL",
            Self::PausePostgres => "SIGSTOP PostgreSQL",
            Self::TerminateBackends => "terminate backends",
            Self::PowerCut => "power cut",
            Self::Disk { error: DiskError::Write(_), .. } => "disk: write fails",
            Self::Disk { error: DiskError::ShortWrite(_), .. } => "disk: short write",
            Self::Disk { error: DiskError::Sync(_), .. } => "disk: sync fails",
            Self::Disk { error: DiskError::Truncate, .. } => "disk: truncate fails",
            Self::Disk { error: DiskError::Full, .. } => "disk: full",
            Self::Cut(Link::Clients(_)) => "cut clients",
            Self::Cut(Link::Database(_)) => "cut database",
            Self::Reset(Link::Clients(_)) => "reset clients",
            Self::Reset(Link::Database(_)) => "reset database",
            Self::Blackhole(Link::Clients(_)) => "blackhole clients",
            Self::Blackhole(Link::Database(_)) => "blackhole database",
            Self::Delay(Link::Clients(_), _) => "delay clients",
            Self::Delay(Link::Database(_), _) => "delay database",
            Self::Throttle(Link::Clients(_)) => "throttle clients",
            Self::Throttle(Link::Database(_)) => "throttle database",
            Self::LoseCommit(_) => "lose a COMMIT",
            Self::LoseCommitAnswer(_) => "lose a COMMIT's answer",
            Self::Storm(_) => "reconnect storm",
            Self::Stuck(_) => "stuck readers, SIGTERM",
        }
    }
}
