//! Every kind of fault: what it affects, and its name in the summary.
//!
//! Boundary: only names and numbers; `inject` applies them.

use super::check::record::Where;

/// Bytes a second of a throttled link.
pub const THROTTLE_BYTES_PER_SECOND: u64 = 16 * 1024;
/// Number of files that a server may still open while it has few.
pub const FILES_LEFT: u64 = 3;
/// Address space that a server may still allocate while it has little memory.
pub const MEMORY_LEFT_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultDatabase {
    Sqlite,
    Postgres,
}

/// The network link that a fault affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Between all clients and a replica.
    Clients(usize),
    /// Between a replica and PostgreSQL.
    Database(usize),
}

/// Which calls on SQLite's files fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// A write fails with this errno.
    Write(i32),
    /// A write writes half of its bytes, and later writes fail with this errno.
    ShortWrite(i32),
    /// A flush fails with this errno.
    Sync(i32),
    /// A change of a file's length fails with EIO while the server stops and starts.
    Truncate,
    /// The disk is full: every write fails until the fault ends.
    Full,
}

/// A fault. Its duration is its own, or the schedule ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedFault {
    /// kill -9 of a server; it starts again on the same ports.
    KillServer(usize),
    /// SIGSTOP of a server, then SIGCONT.
    PauseServer(usize),
    /// SIGTERM of a server under load; it starts again.
    DrainServer(usize),
    /// SIGTERM of a server, which starts again as the version under test.
    Upgrade(usize),
    /// kill -9 of every process of PostgreSQL; it starts again.
    KillPostgres,
    /// SIGSTOP of every process of PostgreSQL, then SIGCONT.
    PausePostgres,
    /// Every connection to the database is ended by PostgreSQL itself.
    TerminateBackends,
    /// The machine loses power: what was not synced is gone. SQLite.
    PowerCut,
    /// This many calls on SQLite's files fail, beginning with the n-th.
    Disk { error: DiskError, first: u32, count: u32 },
    /// An older copy replaces the database, and the epoch is raised.
    Restore,
    /// A standby of PostgreSQL that lacks the tail is promoted, and the epoch is raised.
    Promote,
    /// The machine of PostgreSQL loses power: what was not synced is gone.
    PowerCutPostgres,
    /// Every connection of a link is closed (FIN).
    Cut(Link),
    /// Every connection of a link is reset (RST).
    Reset(Link),
    /// A link stays open and carries nothing.
    Blackhole(Link),
    /// A link carries nothing to its server; the other direction works.
    BlackholeUp(Link),
    /// A link carries nothing from its server; the other direction works.
    BlackholeDown(Link),
    /// The wall clock of a server jumps by this many seconds, and back when the fault ends.
    ClockJump(usize, i64),
    /// A server may open only [`FILES_LEFT`] more files than it has.
    FewFiles(usize),
    /// A server may allocate only [`MEMORY_LEFT_BYTES`] more address space than it has; when it dies of that, it starts again.
    LittleMemory(usize),
    /// Every piece of data is delayed by this many milliseconds.
    Delay(Link, u64),
    /// A link carries [`THROTTLE_BYTES_PER_SECOND`].
    Throttle(Link),
    /// The next COMMIT never reaches PostgreSQL, and its connection is reset.
    LoseCommit(usize),
    /// The next COMMIT reaches PostgreSQL, and its answer is lost.
    LoseCommitAnswer(usize),
    /// This many streams are closed at once and reconnect.
    Storm(usize),
    /// This many readers open a watch and never read.
    Stuck(usize),
}

impl InjectedFault {
    /// Returns what it disturbs, and at which replica; `None` means all.
    pub fn disturbs(self) -> (Where, Option<usize>) {
        match self {
            Self::KillServer(replica)
            | Self::PauseServer(replica)
            | Self::DrainServer(replica)
            | Self::Upgrade(replica)
            | Self::FewFiles(replica)
            | Self::LittleMemory(replica) => (Where::Server, Some(replica)),
            Self::ClockJump(replica, _) => (Where::Clock, Some(replica)),
            Self::PowerCut | Self::Restore | Self::Promote | Self::Storm(_) | Self::Stuck(_) => (Where::Server, None),
            // The server stops and starts.
            Self::Disk { error: DiskError::Truncate, .. } => (Where::Server, None),
            Self::KillPostgres
            | Self::PausePostgres
            | Self::TerminateBackends
            | Self::PowerCutPostgres
            | Self::Disk { .. } => (Where::Database, None),
            Self::Cut(link)
            | Self::Reset(link)
            | Self::Blackhole(link)
            | Self::BlackholeUp(link)
            | Self::BlackholeDown(link)
            | Self::Delay(link, _)
            | Self::Throttle(link) => match link {
                Link::Clients(replica) => (Where::Clients, Some(replica)),
                Link::Database(replica) => (Where::Database, Some(replica)),
            },
            Self::LoseCommit(replica) | Self::LoseCommitAnswer(replica) => (Where::Database, Some(replica)),
        }
    }

    /// Returns its name in the summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillServer(_) => "kill -9 server",
            Self::PauseServer(_) => "SIGSTOP server",
            Self::DrainServer(_) => "SIGTERM server",
            Self::Upgrade(_) => "upgrade",
            Self::KillPostgres => "kill -9 PostgreSQL",
            Self::PausePostgres => "SIGSTOP PostgreSQL",
            Self::TerminateBackends => "terminate backends",
            Self::PowerCut => "power cut",
            Self::Restore => "restore of an older copy, bump",
            Self::Promote => "promotion without the tail, bump",
            Self::PowerCutPostgres => "power cut of PostgreSQL",
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
            Self::BlackholeUp(Link::Clients(_)) => "one way: nothing from clients",
            Self::BlackholeUp(Link::Database(_)) => "one way: nothing to the database",
            Self::BlackholeDown(Link::Clients(_)) => "one way: nothing to clients",
            Self::BlackholeDown(Link::Database(_)) => "one way: nothing from the database",
            Self::ClockJump(_, seconds) if seconds > 0 => "clock ahead",
            Self::ClockJump(..) => "clock behind",
            Self::FewFiles(_) => "file limit",
            Self::LittleMemory(_) => "memory limit",
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
