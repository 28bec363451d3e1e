//! Cursors, for both ends: with the fingerprint of their event where that is known.

use super::pb;
use crate::domain::event::{Cursor, Fingerprint, Position};

impl pb::Cursor {
    /// Makes the cursor of a request that stands for whichever event has the revision.
    #[must_use]
    pub const fn of_revision(revision: i64) -> Self {
        Self { epoch: 0, revision, fingerprint: 0 }
    }
}

impl From<Cursor> for pb::Cursor {
    fn from(cursor: Cursor) -> Self {
        Position::from(cursor).into()
    }
}

impl From<Position> for pb::Cursor {
    fn from(Position { cursor, event }: Position) -> Self {
        let fingerprint = event.map(Fingerprint::number).unwrap_or_default();
        Self { epoch: cursor.epoch, revision: cursor.revision, fingerprint }
    }
}
