//! All feeds of a replica. A namespace has one from its first watch on.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, Notify};

use super::feed::Feed;
use super::frames::{Verify, active_set};
use super::subscription::Subscription;
use crate::domain::Result;
use crate::domain::command::Watch;
use crate::domain::name::NamespaceId;
use crate::store::Store;

/// Opens watches, and holds what the tailer fills.
#[derive(Debug)]
pub struct Hub {
    store: Store,
    verify: Arc<dyn Verify>,
    ring_capacity: usize,
    feeds: Mutex<BTreeMap<NamespaceId, Arc<Feed>>>,
    wake: Notify,
}

impl Hub {
    /// A hub without feeds. `ring_capacity` is in activations per namespace: a subscriber further behind than that reads
    /// from the database.
    #[must_use]
    pub fn new(store: Store, verify: Arc<dyn Verify>, ring_capacity: usize) -> Self {
        Self { store, verify, ring_capacity, feeds: Mutex::default(), wake: Notify::new() }
    }

    /// The feed of a namespace, read from the database when nobody watched it before.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn feed(&self, namespace: &NamespaceId) -> Result<Arc<Feed>> {
        let mut feeds = self.feeds.lock().await;
        if let Some(feed) = feeds.get(namespace) {
            return Ok(Arc::clone(feed));
        }
        let tx = self.store.read().await?;
        let found = tx.namespace(namespace).await?;
        let head = crate::domain::event::Head { cursor: found.cursor, hash: found.head_hash };
        let set = active_set(&tx, &*self.verify, namespace, head).await?;
        let feed = Arc::new(Feed::new(set, self.ring_capacity));
        feeds.insert(namespace.clone(), Arc::clone(&feed));
        Ok(feed)
    }

    /// The feed of a namespace, if it has one.
    pub async fn existing(&self, namespace: &NamespaceId) -> Option<Arc<Feed>> {
        self.feeds.lock().await.get(namespace).cloned()
    }

    /// Opens a watch.
    ///
    /// # Errors
    /// As `feed`, and `RESUME_POINT_GONE` for a cursor of another epoch.
    pub async fn subscribe(&self, watch: &Watch) -> Result<Subscription> {
        let feed = self.feed(&watch.namespace).await?;
        Subscription::open(feed, watch, self.store.clone(), Arc::clone(&self.verify))
    }

    /// Every feed.
    pub(super) async fn feeds(&self) -> Vec<Arc<Feed>> {
        self.feeds.lock().await.values().cloned().collect()
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn verify(&self) -> &dyn Verify {
        &*self.verify
    }

    /// Says that something was committed here. Many wakes before the tailer looks are one.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}
