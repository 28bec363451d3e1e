//! Finds out which event is at a cursor: the newest ones are in memory, older ones are read from the log, each once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::source::FeedSource;
use crate::domain::event::{Cursor, Fingerprint, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};

/// Number of fingerprints kept of a namespace, from when it was first asked for: 24 bytes each. Fewer: subscribers that reconnect after
/// that many changes cost a query for each cursor.
const RECENT_MAX: usize = 4_096;
/// Number of older cursors whose fingerprints are cached: a reconnecting fleet asks for the same few.
const READ_MAX: usize = 64;

/// The fingerprints of the newest events, without a gap.
#[derive(Debug)]
pub(super) struct RecentFingerprints(VecDeque<(Cursor, Option<Fingerprint>)>);

impl RecentFingerprints {
    /// Starts with the fingerprint of the last event of a log.
    pub(super) fn new(head: Head) -> Self {
        Self([entry(head)].into())
    }

    /// Adds the fingerprints of the events that follow.
    pub(super) fn extend(&mut self, events: impl IntoIterator<Item = Head>) {
        self.0.extend(events.into_iter().map(entry));
        self.0.drain(..self.0.len().saturating_sub(RECENT_MAX));
    }

    /// Returns the fingerprint of the event at a cursor, if it is among them.
    pub(super) fn get(&self, cursor: Cursor) -> Option<Fingerprint> {
        let index = self.0.binary_search_by_key(&cursor, |(cursor, _)| *cursor).ok()?;
        self.0.get(index).and_then(|(_, fingerprint)| *fingerprint)
    }
}

fn entry(head: Head) -> (Cursor, Option<Fingerprint>) {
    (head.cursor, Fingerprint::of(&head.hash))
}

/// The fingerprints of older events that were read. Each is read once, however many callers ask for it at the same time.
#[derive(Debug, Default)]
pub(super) struct FingerprintCache(Mutex<VecDeque<(Cursor, FoundFingerprint)>>);

/// The fingerprint of the event at a cursor, once it was read.
type FoundFingerprint = Arc<OnceCell<Option<Fingerprint>>>;

impl FingerprintCache {
    /// Returns the fingerprint of the event at a cursor, reading it from the log if needed; none when there is no event.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub(super) async fn read(
        &self,
        source: &FeedSource,
        namespace: &NamespaceId,
        cursor: Cursor,
    ) -> Result<Option<Fingerprint>> {
        let cell = self.cell(cursor);
        let read = cell.get_or_try_init(|| async {
            let hash = source.store.event_hash(namespace, cursor).await?;
            Ok(hash.and_then(|hash| Fingerprint::of(&hash)))
        });
        read.await.copied()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Cursor, FoundFingerprint)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cell(&self, cursor: Cursor) -> FoundFingerprint {
        let mut kept = self.kept();
        if let Some((_, cell)) = kept.iter().find(|(kept, _)| *kept == cursor) {
            return Arc::clone(cell);
        }
        if kept.len() == READ_MAX {
            kept.pop_front();
        }
        let cell = Arc::default();
        kept.push_back((cursor, Arc::clone(&cell)));
        cell
    }
}

/// Returns the error for a resume point at which no stream can begin: its event was never in the log, or is gone from it.
pub(super) fn resume_point_gone(resume: Cursor, epoch: i64) -> Error {
    Error::new(
        Reason::ResumePointGone,
        format!("no stream can go on from epoch {} revision {}; watch without resume", resume.epoch, resume.revision),
    )
    .with("resume_epoch", resume.epoch)
    .with("resume_revision", resume.revision)
    .with("current_epoch", epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: i64) -> Head {
        let mut hash = [0; 32];
        hash[7] = u8::try_from(revision % 251 + 1).expect("a byte");
        Head { cursor: Cursor { epoch: 1, revision }, hash }
    }

    #[test]
    fn the_newest_events_are_kept_and_no_others() {
        let mut recent = RecentFingerprints::new(head(10));
        assert_eq!(recent.get(Cursor { epoch: 1, revision: 9 }), None);
        recent.extend((11..=10 + RECENT_MAX as i64).map(head));
        assert_eq!(recent.get(Cursor { epoch: 1, revision: 10 }), None, "the oldest went");
        let kept = head(11);
        assert_eq!(recent.get(kept.cursor), Fingerprint::of(&kept.hash));
        assert_eq!(recent.get(Cursor { epoch: 2, revision: 11 }), None, "of another epoch");
        assert_eq!(RecentFingerprints::new(Head::EMPTY).get(Cursor::NONE), None, "no event stands before the first");
    }
}
