//! A bounded ring of the newest activations of one namespace.
//!
//! It holds every activation after its floor, and says so when asked for one it let go.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::bundle::Activation;

/// What comes after a cursor.
#[derive(Debug, Clone)]
pub(super) enum After {
    /// This one.
    Next(Arc<Activation>),
    /// Nothing yet.
    Level,
    /// The ring let it go: read it from the database.
    Behind,
}

#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Arc<Activation>>,
    /// Every activation after this revision is in the ring.
    floor: i64,
    capacity: usize,
}

impl Ring {
    /// An empty ring for what comes after `floor`. `capacity` is in activations, at least one.
    pub(super) fn new(floor: i64, capacity: usize) -> Self {
        Self { frames: VecDeque::new(), floor, capacity: capacity.max(1) }
    }

    pub(super) fn push(&mut self, frame: Arc<Activation>) {
        if self.frames.len() == self.capacity
            && let Some(oldest) = self.frames.pop_front()
        {
            self.floor = oldest.cursor.revision;
        }
        self.frames.push_back(frame);
    }

    pub(super) fn after(&self, revision: i64) -> After {
        if revision < self.floor {
            return After::Behind;
        }
        let index = self.frames.partition_point(|frame| frame.cursor.revision <= revision);
        self.frames.get(index).map_or(After::Level, |frame| After::Next(Arc::clone(frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Cursor;

    fn frame(revision: i64) -> Arc<Activation> {
        let cursor = Cursor { epoch: 1, revision };
        Arc::new(Activation { cursor, statement: Arc::from(""), bundles: Vec::new(), tombstones: Vec::new() })
    }

    fn next(ring: &Ring, revision: i64) -> Option<i64> {
        match ring.after(revision) {
            After::Next(frame) => Some(frame.cursor.revision),
            After::Level => Some(0),
            After::Behind => None,
        }
    }

    #[test]
    fn nothing_is_skipped_and_what_is_gone_is_named() {
        let mut ring = Ring::new(10, 2);
        assert_eq!(next(&ring, 10), Some(0));
        assert_eq!(next(&ring, 9), None, "before the floor nobody knows");
        for revision in [12, 15, 19] {
            ring.push(frame(revision));
        }
        assert_eq!(next(&ring, 10), None, "12 was let go");
        assert_eq!(next(&ring, 11), None);
        assert_eq!(next(&ring, 12), Some(15));
        assert_eq!(next(&ring, 13), Some(15), "events between activations are no gap");
        assert_eq!(next(&ring, 15), Some(19));
        assert_eq!(next(&ring, 19), Some(0));
        assert_eq!(next(&ring, 25), Some(0), "ahead of the head waits");
    }
}
