//! The newest checkpoint of a namespace, and the heartbeat that carries it: signed and written once for all streams.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::encode::{Filter, Proven};
use super::feed::{Feed, Freshness};
use super::view::View;
use crate::domain::Result;
use crate::domain::bundle::Staleness;
use crate::domain::event::{Cursor, Position};
use crate::domain::time::Micros;

/// How long the checkpoint of the head is used. Longer: subscribers know later that nothing changed.
const REUSE_SECONDS: i64 = 5;

#[derive(Debug, Clone)]
struct Checkpoint {
    cursor: Cursor,
    checked: Micros,
    /// Which keys there were: none signed before a change of them is used after it.
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

/// What was signed and written last.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    checkpoint: Mutex<Option<Checkpoint>>,
    heartbeat: Mutex<Option<Heartbeat>>,
}

impl Checkpoint {
    /// Whether it may speak for a stream at `cursor`: only exactly there does it prove anything of what the stream holds.
    fn speaks_for(&self, cursor: Cursor, checked: Micros, keys: u64) -> bool {
        let age_seconds = checked.seconds() - self.checked.seconds();
        self.cursor == cursor && self.keys == keys && (0..REUSE_SECONDS).contains(&age_seconds)
    }
}

impl Feed {
    /// The checkpoint of exactly this view. Its time is when the feed was last compared with the database: a replica that
    /// lost its database does not call old news fresh.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn checkpoint(&self, view: &View, checked: Micros) -> Result<Arc<str>> {
        let mut kept = self.checkpoints().checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = view.head().cursor;
        let proof = &*self.source().proof;
        let keys = proof.keys_number();
        if let Some(kept) = kept.as_ref().filter(|kept| kept.speaks_for(cursor, checked, keys)) {
            return Ok(Arc::clone(&kept.token));
        }
        let token: Arc<str> = proof.checkpoint(self.namespace(), view.head(), view.root(), checked)?.into();
        // Somebody with an older view must not take the newest checkpoint away.
        if kept.as_ref().is_none_or(|kept| kept.cursor <= cursor) {
            *kept = Some(Checkpoint { cursor, checked, keys, token: Arc::clone(&token) });
        }
        Ok(token)
    }

    /// The heartbeat of a stream that has sent everything up to `at`; none when the head has moved on meanwhile.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn heartbeat(&self, at: Cursor, filter: &Filter) -> Result<Option<Bytes>> {
        let (encode, counts) = (&*self.source().encode, &self.source().counts);
        if at < self.head().cursor {
            return Ok(None);
        }
        let (view, Freshness { checked, last_look }) = self.view();
        let (head, staleness) = (view.head(), last_look.staleness());
        if at != head.cursor {
            // It resumed ahead of what this replica has read: alive, and nothing to say yet. Or the head moved just now.
            return Ok((at > head.cursor).then(|| encode.heartbeat(self.namespace(), None, staleness)));
        }
        let (at, token) = (Position::from(head), self.checkpoint(&view, checked)?);
        let write = |set_proof: &Bytes| {
            counts.heartbeats_written.add();
            encode.heartbeat(self.namespace(), Some(Proven { at, checkpoint: &token, set_proof }), staleness)
        };
        if !filter.wants_all() {
            return Ok(Some(write(&view.proof(filter))));
        }
        let mut heartbeat = self.checkpoints().heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &*heartbeat
            && (kept.at, &kept.token, kept.staleness) == (at, &token, staleness)
        {
            return Ok(Some(kept.message.clone()));
        }
        let message = write(&Bytes::new());
        *heartbeat = Some(Heartbeat { at, token, staleness, message: message.clone() });
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(epoch: i64, revision: i64) -> Cursor {
        Cursor { epoch, revision }
    }

    #[test]
    fn a_checkpoint_speaks_for_its_head_alone() {
        let seconds = |seconds: i64| Micros(seconds * 1_000_000);
        let signed = Checkpoint { cursor: place(1, 16), checked: seconds(100), keys: 1, token: Arc::from("") };
        let speaks = |cursor, now| signed.speaks_for(cursor, seconds(now), 1);
        assert!(speaks(place(1, 16), 104), "the head of a quiet namespace");
        assert!(!speaks(place(1, 16), 105), "too old");
        assert!(!speaks(place(1, 17), 100), "something came after it");
        assert!(!speaks(place(1, 15), 100), "of what the stream has not sent yet");
        assert!(!speaks(place(2, 16), 100), "of an epoch before");
        assert!(!signed.speaks_for(place(1, 16), seconds(100), 2), "the keys changed");
    }
}
