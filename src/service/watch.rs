//! WatchActive and its checkpoints.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Service;
use super::signer::set_digest;
use crate::domain::Result;
use crate::domain::bundle::ActiveSet;
use crate::domain::command::Watch;
use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::watch::{Feed, Subscription};

/// A checkpoint is signed once for all streams of a namespace and used this long.
const CHECKPOINT_REUSE_SECONDS: i64 = 5;

#[derive(Debug, Clone)]
struct Checkpoint {
    cursor: Cursor,
    checked: Micros,
    token: Arc<str>,
}

/// The newest checkpoint of each namespace that is watched.
#[derive(Debug, Default)]
pub(super) struct Checkpoints(Mutex<BTreeMap<NamespaceId, Checkpoint>>);

impl Service {
    /// Opens a watch.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `RESUME_POINT_GONE`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn watch(&self, request: &Watch) -> Result<Subscription> {
        self.hub.subscribe(request).await
    }

    /// Digest of an active set, as in its checkpoint.
    #[must_use]
    pub fn active_set_digest(&self, set: &ActiveSet) -> Digest {
        set_digest(set)
    }

    /// The checkpoint of a feed at `cursor`, from memory; none when the feed has moved on meanwhile. Its time is when the
    /// feed was last compared with the database: a replica that lost its database does not call old news fresh.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub fn checkpoint(&self, feed: &Feed, cursor: Cursor) -> Result<Option<Arc<str>>> {
        let checked = feed.checked();
        let mut checkpoints = self.checkpoints.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = checkpoints.get(feed.namespace())
            && kept.cursor == cursor
            && (0..CHECKPOINT_REUSE_SECONDS).contains(&(checked.seconds() - kept.checked.seconds()))
        {
            return Ok(Some(Arc::clone(&kept.token)));
        }
        let set = feed.active_set();
        if set.cursor != cursor {
            return Ok(None);
        }
        let token: Arc<str> = self.signer.checkpoint(&set, checked)?.into();
        let kept = Checkpoint { cursor, checked, token: Arc::clone(&token) };
        checkpoints.insert(feed.namespace().clone(), kept);
        Ok(Some(token))
    }
}
