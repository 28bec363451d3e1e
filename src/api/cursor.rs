//! Cursors, for both ends: with the fingerprint of their event where that is known.

use super::pb;
use crate::domain::event::{Fingerprint, Position};

impl From<Position> for pb::Cursor {
    fn from(Position { cursor, event }: Position) -> Self {
        let fingerprint = event.map(Fingerprint::number).unwrap_or_default();
        Self { epoch: cursor.epoch, revision: cursor.revision, fingerprint }
    }
}
