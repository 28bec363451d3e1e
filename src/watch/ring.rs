//! A ring of the newest activations of one namespace.
//!
//! It holds every activation after a cursor, and answers `Behind` for earlier ones. Its size in bytes is bounded by the budget that all
//! rings of a replica share (`ring_budget.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::frame::Frame;
use crate::domain::event::Cursor;

/// What follows a cursor.
#[derive(Debug, Clone)]
pub(super) enum After {
    /// The next activation.
    Next(Arc<Frame>),
    /// No activation: the cursor has caught up.
    CaughtUp,
    /// The ring no longer holds it: read it from the database.
    Behind,
    /// The cursor is of an earlier epoch, and the log may no longer have it: start with a snapshot.
    EpochBefore,
}

#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Arc<Frame>>,
    /// Every activation after this cursor is in the ring.
    floor: Cursor,
    /// Where the epoch was raised last, if that was seen: from there on the log has no cursor of an earlier epoch, and before it none of
    /// this one.
    raised: Option<Cursor>,
    capacity: usize,
    /// Bytes of all frames but the newest one.
    older_bytes: usize,
}

impl Ring {
    /// Creates an empty ring for activations after `floor`. `capacity` is in activations, at least one.
    pub(super) fn new(floor: Cursor, capacity: usize) -> Self {
        Self { frames: VecDeque::new(), floor, raised: None, capacity: capacity.max(1), older_bytes: 0 }
    }

    /// Empties the ring and starts after another cursor.
    pub(super) fn reset(&mut self, floor: Cursor) {
        *self = Self::new(floor, self.capacity);
    }

    /// Records that the epoch was raised at this cursor of the log.
    pub(super) fn raise(&mut self, raised: Cursor) {
        self.raised = Some(raised);
    }

    /// Whether the log never had this cursor, or no longer has it.
    fn is_not_in_log(&self, at: Cursor) -> bool {
        match self.raised {
            Some(raised) if at.epoch < raised.epoch => at.revision >= raised.revision,
            Some(raised) if at.epoch == raised.epoch => at.revision < raised.revision,
            _ => false,
        }
    }

    pub(super) fn push(&mut self, frame: Arc<Frame>) {
        self.older_bytes += self.frames.back().map_or(0, |newest| newest.held_bytes());
        self.frames.push_back(frame);
        while self.frames.len() > self.capacity && self.release_oldest().is_some() {}
    }

    /// Returns the size of the frames that the ring can release: all but the newest one.
    pub(super) fn releasable_bytes(&self) -> usize {
        self.older_bytes
    }

    /// Removes the oldest frame and returns it. The newest one stays whatever its size: subscribers that have caught up get it from here.
    pub(super) fn release_oldest(&mut self) -> Option<Arc<Frame>> {
        if self.frames.len() <= 1 {
            return None;
        }
        let oldest = self.frames.pop_front()?;
        self.older_bytes -= oldest.held_bytes();
        self.floor = oldest.cursor();
        Some(oldest)
    }

    pub(super) fn after(&self, at: Cursor) -> After {
        if at.epoch < self.floor.epoch || self.is_not_in_log(at) {
            return After::EpochBefore;
        }
        if at < self.floor {
            return After::Behind;
        }
        let index = self.frames.partition_point(|frame| frame.cursor() <= at);
        self.frames.get(index).map_or(After::CaughtUp, |frame| After::Next(Arc::clone(frame)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::domain::bundle::{Activation, Bundle};
    use crate::domain::version::Version;

    fn at(revision: i64) -> Cursor {
        Cursor { epoch: 1, revision }
    }

    fn frame(cursor: Cursor, content_bytes: usize) -> Arc<Frame> {
        let bundle = Bundle { version: version(), content: Bytes::from(vec![0; content_bytes]) };
        let bundles = vec![Arc::new(bundle)];
        let activation = Activation {
            root: None,
            cursor,
            event_hash: [0; 32],
            statement: Arc::from(""),
            bundles,
            tombstones: Vec::new(),
        };
        Arc::new(Frame::new(activation, None))
    }

    fn version() -> Version {
        let digest = format!("sha256:{}", "0".repeat(64));
        let version = serde_json::json!({
            "policy": {"namespace": "n", "policy": "p"}, "number": 1, "state": "PUBLISHED", "label": null,
            "digest": digest, "size_bytes": 0, "content_type": "", "change_note": "", "requires": [],
            "base_version": 0, "source_version": 0, "author": "", "publisher": "", "manifest": "", "etag": 1,
            "create_time": 0, "stage_time": null, "publish_time": null,
        });
        serde_json::from_value(version).expect("a version")
    }

    /// Returns the next revision, 0 for none, -1 behind the ring, -2 for an earlier epoch.
    fn next(ring: &Ring, at: Cursor) -> i64 {
        match ring.after(at) {
            After::Next(frame) => frame.cursor().revision,
            After::CaughtUp => 0,
            After::Behind => -1,
            After::EpochBefore => -2,
        }
    }

    #[test]
    fn nothing_is_skipped_and_what_is_gone_is_named() {
        let mut ring = Ring::new(at(10), 2);
        assert_eq!(next(&ring, at(10)), 0);
        assert_eq!(next(&ring, at(9)), -1, "before the floor nobody knows");
        for revision in [12, 15, 19] {
            ring.push(frame(at(revision), 0));
        }
        assert_eq!(next(&ring, at(10)), -1, "12 was let go");
        assert_eq!(next(&ring, at(11)), -1);
        assert_eq!(next(&ring, at(12)), 15);
        assert_eq!(next(&ring, at(13)), 15, "events between activations are no gap");
        assert_eq!(next(&ring, at(15)), 19);
        assert_eq!(next(&ring, at(19)), 0);
        assert_eq!(next(&ring, at(25)), 0, "ahead of the head waits");
    }

    #[test]
    fn all_but_the_newest_can_be_released() {
        let mut ring = Ring::new(at(0), 2);
        let sizes = [1_000, 2_000, 4_000].map(|content_bytes| frame(at(1), content_bytes).held_bytes());
        assert_eq!(ring.releasable_bytes(), 0);
        for (revision, content_bytes) in [(1, 1_000), (2, 2_000)] {
            ring.push(frame(at(revision), content_bytes));
        }
        assert_eq!(ring.releasable_bytes(), sizes[0], "the newest one stays");
        ring.push(frame(at(3), 4_000));
        assert_eq!(ring.releasable_bytes(), sizes[1], "the first one made room");
        assert_eq!(ring.release_oldest().map(|frame| frame.cursor()), Some(at(2)));
        assert_eq!((next(&ring, at(1)), next(&ring, at(2))), (-1, 3), "the floor moved with it");
        assert!(ring.release_oldest().is_none(), "the newest one stays whatever its size");
        assert_eq!((ring.releasable_bytes(), next(&ring, at(2))), (0, 3));
        ring.push(frame(at(4), 0));
        assert_eq!(ring.releasable_bytes(), sizes[2], "it is an older one now");
        ring.reset(at(9));
        assert_eq!(ring.releasable_bytes(), 0);
    }

    #[test]
    fn an_epoch_before_starts_anew() {
        let mut ring = Ring::new(at(10), 2);
        let raised = Cursor { epoch: 2, revision: 12 };
        ring.raise(raised);
        let after = Cursor { epoch: 2, revision: 13 };
        ring.push(frame(after, 0));
        assert_eq!(next(&ring, at(11)), 13, "the log led on from there");
        assert_eq!(next(&ring, at(12)), -2, "that place was lost");
        assert_eq!(next(&ring, Cursor { epoch: 2, revision: 11 }), -2, "that place never was");
        assert_eq!(next(&ring, raised), 13);
        ring.reset(Cursor { epoch: 2, revision: 8 });
        assert_eq!(next(&ring, at(11)), -2, "it does not any more, whatever the revision");
        assert_eq!(next(&ring, Cursor { epoch: 2, revision: 8 }), 0);
    }
}
