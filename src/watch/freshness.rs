//! The freshness of a feed: when it was last compared with the database, and the result.

use crate::domain::bundle::Staleness;
use crate::domain::time::Micros;

/// When a feed was last known to be current, and the result of the last poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Time at which the head was last compared with the database.
    pub checked: Micros,
    /// The result of the last poll.
    pub last_poll: PollResult,
}

/// The result of a poll of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollResult {
    /// The feed has caught up with the log.
    CaughtUp,
    /// The database did not answer.
    Unanswered,
    /// The log does not follow what was read: it lost its tail, or does not verify.
    Invalid,
    /// Data loss is suspected: what was verified is still served, and nothing is reported as fresh.
    SuspectedLoss,
    /// The namespace was lost, and an operator has accepted that.
    Deleted,
}

impl PollResult {
    /// Returns the staleness of an answer that is made after this poll.
    #[must_use]
    pub fn staleness(self) -> Staleness {
        match self {
            Self::CaughtUp => Staleness::default(),
            Self::Unanswered | Self::Invalid | Self::Deleted => Staleness { degraded: true, in_doubt: false },
            Self::SuspectedLoss => Staleness { degraded: false, in_doubt: true },
        }
    }
}
