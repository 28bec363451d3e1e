//! The newest checkpoint of a namespace, and the heartbeat that carries it: signed and written once for all streams.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::encode::WatchFilter;
use super::freshness::Freshness;
use super::source::FeedSource;
use super::view::ActiveView;
use crate::domain::Result;
use crate::domain::bundle::Staleness;
use crate::domain::event::{Cursor, Position};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::watch_message::HeartbeatProof;

/// How long the checkpoint of the head is reused. Longer: subscribers learn later that nothing changed.
const REUSE_SECONDS: i64 = 5;

#[derive(Debug, Clone)]
struct SharedCheckpoint {
    cursor: Cursor,
    checked: Micros,
    /// Number of the key change: a checkpoint signed before a change of keys is not used after it.
    keys: u64,
    token: Arc<str>,
}

#[derive(Debug)]
struct Heartbeat {
    at: Position,
    token: Arc<str>,
    staleness: Staleness,
    message: Bytes,
}

/// The last checkpoint and heartbeat.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    checkpoint: Mutex<Option<SharedCheckpoint>>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

impl SharedCheckpoint {
    /// Whether it may be sent to a stream at `cursor`: a checkpoint of another cursor proves nothing about what the stream holds.
    fn covers(&self, cursor: Cursor, checked: Micros, keys: u64) -> bool {
        let age_seconds = checked.seconds() - self.checked.seconds();
        self.cursor == cursor && self.keys == keys && (0..REUSE_SECONDS).contains(&age_seconds)
    }
}

impl Checkpoints {
    /// Returns the checkpoint of exactly this view. Its time is `checked`, when the feed was last compared with the database: a replica
    /// that lost its database must not sign old state as fresh.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn checkpoint(
        &self,
        source: &FeedSource,
        namespace: &NamespaceId,
        view: &ActiveView,
        checked: Micros,
    ) -> Result<Arc<str>> {
        let mut kept = self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = view.head().cursor;
        let keys = source.proof.keys_number();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.covers(cursor, checked, keys)) {
            return Ok(Arc::clone(&kept.token));
        }
        let token: Arc<str> = source.proof.checkpoint(namespace, view.head(), view.root(), checked)?.into();
        // A caller with an older view must not replace the newest checkpoint.
        if kept.as_ref().is_none_or(|kept| kept.cursor <= cursor) {
            *kept = Some(SharedCheckpoint { cursor, checked, keys, token: Arc::clone(&token) });
        }
        Ok(token)
    }

    /// Returns the heartbeat of a stream at the head of this view.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn heartbeat(
        &self,
        source: &FeedSource,
        namespace: &NamespaceId,
        view: &ActiveView,
        freshness: Freshness,
        filter: &WatchFilter,
    ) -> Result<Bytes> {
        let (checked, staleness) = (freshness.checked, freshness.last_poll.staleness());
        let (at, token) = (Position::from(view.head()), self.checkpoint(source, namespace, view, checked)?);
        let write = |set_proof: &Bytes| {
            source.counts.heartbeats_written.add();
            source.encode.heartbeat(namespace, Some(HeartbeatProof { at, checkpoint: &token, set_proof }), staleness)
        };
        if !filter.wants_all() {
            return Ok(write(&view.proof(filter)));
        }
        let mut heartbeat = self.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*heartbeat
            && (kept.at, &kept.token, kept.staleness) == (at, &token, staleness)
        {
            return Ok(kept.message.clone());
        }
        let message = write(&Bytes::new());
        *heartbeat = Some(Heartbeat { at, token, staleness, message: message.clone() });
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: i64, revision: i64) -> Cursor {
        Cursor { epoch, revision }
    }

    #[test]
    fn a_checkpoint_covers_its_head_alone() {
        let seconds = |seconds: i64| Micros(seconds * 1_000_000);
        let signed = SharedCheckpoint { cursor: at(1, 16), checked: seconds(100), keys: 1, token: Arc::from("") };
        let speaks = |cursor, now| signed.covers(cursor, seconds(now), 1);
        assert!(speaks(at(1, 16), 104), "the head of a quiet namespace");
        assert!(!speaks(at(1, 16), 105), "too old");
        assert!(!speaks(at(1, 17), 100), "something came after it");
        assert!(!speaks(at(1, 15), 100), "of what the stream has not sent yet");
        assert!(!speaks(at(2, 16), 100), "of an epoch before");
        assert!(!signed.covers(at(1, 16), seconds(100), 2), "the keys changed");
    }
}
