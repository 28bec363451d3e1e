//! A cache of the digests of active sets, by namespace and cursor.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;

/// Number of digests in the cache: a whole fleet reports the same few cursors.
const CACHED_DIGESTS_MAX: usize = 64;

/// Digests of active sets. One is read once, however many calls ask for it at the same time.
#[derive(Debug, Default)]
pub(super) struct SetDigestCache(Mutex<VecDeque<CachedDigest>>);

type CachedDigest = (NamespaceId, Cursor, Arc<OnceCell<Digest>>);

impl SetDigestCache {
    pub(super) fn cell(&self, namespace: &NamespaceId, cursor: Cursor) -> Arc<OnceCell<Digest>> {
        let mut digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = digests.iter().find(|(found, at, _)| *at == cursor && found == namespace);
        if let Some((_, _, cell)) = found {
            return Arc::clone(cell);
        }
        if digests.len() == CACHED_DIGESTS_MAX {
            digests.pop_front();
        }
        let cell = Arc::default();
        digests.push_back((namespace.clone(), cursor, Arc::clone(&cell)));
        cell
    }
}
