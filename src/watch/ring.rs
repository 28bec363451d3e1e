//! A bounded ring of the newest activations of one namespace.
//!
//! It holds every activation after its floor, and says so when asked for one it let go.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::bundle::Activation;

/// Content that a ring holds, of one namespace. An activation has at most 16 MiB, so a few always fit.
const RING_MAX_BYTES: usize = 64 * 1024 * 1024;

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
    /// Content of the frames it holds.
    bytes: usize,
}

fn size(frame: &Activation) -> usize {
    frame.bundles.iter().map(|bundle| bundle.content.len()).sum()
}

impl Ring {
    /// An empty ring for what comes after `floor`. `capacity` is in activations, at least one.
    pub(super) fn new(floor: i64, capacity: usize) -> Self {
        Self { frames: VecDeque::new(), floor, capacity: capacity.max(1), bytes: 0 }
    }

    pub(super) fn push(&mut self, frame: Arc<Activation>) {
        self.bytes += size(&frame);
        self.frames.push_back(frame);
        // The newest stays whatever its size: subscribers that are level get it from here.
        while self.frames.len() > 1 && (self.frames.len() > self.capacity || self.bytes > RING_MAX_BYTES) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= size(&oldest);
            self.floor = oldest.cursor.revision;
        }
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
    use bytes::Bytes;

    use super::*;
    use crate::domain::bundle::Bundle;
    use crate::domain::event::Cursor;
    use crate::domain::version::Version;

    fn frame(revision: i64) -> Arc<Activation> {
        let cursor = Cursor { epoch: 1, revision };
        Arc::new(Activation { cursor, statement: Arc::from(""), bundles: Vec::new(), tombstones: Vec::new() })
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

    #[test]
    fn large_contents_leave_early() {
        let mut ring = Ring::new(0, 1_000);
        let large = |revision| {
            let bundle = Bundle { version: version(), content: Bytes::from(vec![0; RING_MAX_BYTES / 2]) };
            Arc::new(Activation { bundles: vec![Arc::new(bundle)], ..Activation::clone(&frame(revision)) })
        };
        ring.push(large(1));
        ring.push(large(2));
        assert_eq!(next(&ring, 0), Some(1), "two fit exactly");
        ring.push(large(3));
        assert_eq!((next(&ring, 0), next(&ring, 1)), (None, Some(2)), "the oldest made room");
    }
}
