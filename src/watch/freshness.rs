//! How fresh a feed is: when it was last compared with the database, and how that went.

use crate::domain::bundle::Staleness;
use crate::domain::time::Micros;

/// How sure a replica is that what it holds is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// When the head was last compared with the database.
    pub checked: Micros,
    /// How the last look went.
    pub last_look: Look,
}

/// How a look at a log went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// The feed is level with it.
    Level,
    /// The database did not answer.
    Unanswered,
    /// What is there does not follow what was read: it lost its end, or does not verify.
    Broken,
    /// The store is in doubt: what was verified goes on, and nothing is called fresh.
    InDoubt,
    /// The namespace was lost, and an operator has accepted that.
    Gone,
}

impl Look {
    /// What an answer made after it has to say of itself.
    #[must_use]
    pub fn staleness(self) -> Staleness {
        match self {
            Self::Level => Staleness::default(),
            Self::Unanswered | Self::Broken | Self::Gone => Staleness { degraded: true, in_doubt: false },
            Self::InDoubt => Staleness { degraded: false, in_doubt: true },
        }
    }
}
