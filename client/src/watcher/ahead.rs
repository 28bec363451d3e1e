//! How far the log is known to have come beyond what was read of the stream.

use tokio::time::Instant;

use policyhub_core::domain::event::Cursor;

/// The newest cursor of the log that is known, beyond what was read of the stream.
#[derive(Debug)]
pub(super) struct Ahead {
    pub head: Option<Cursor>,
    /// Says when the server is asked next.
    pub look_at: Instant,
}

impl Ahead {
    /// Begins without knowledge, and with a look that is due.
    pub fn new() -> Self {
        Self { head: None, look_at: Instant::now() }
    }

    /// Returns the newest cursor: that one, or what is known beyond it.
    pub fn newest(&self, verified: Cursor) -> Cursor {
        self.head.map_or(verified, |head| head.max(verified))
    }
}
