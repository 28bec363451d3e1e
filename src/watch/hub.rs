//! All feeds of a replica. A namespace has one from its first watch on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OnceCell};

use super::feed::Feed;
use super::frames::{Verify, active_set};
use super::subscription::Subscription;
use crate::domain::command::Watch;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::Store;

/// Opens watches, and holds what the tailer fills.
#[derive(Debug)]
pub struct Hub {
    store: Store,
    verify: Arc<dyn Verify>,
    ring_capacity: usize,
    clock: fn() -> Micros,
    feeds: Mutex<Feeds>,
    wake: Notify,
}

/// A feed is read once, however many ask for it at once; nobody waits for the feed of another namespace.
type Feeds = BTreeMap<NamespaceId, Arc<OnceCell<Arc<Feed>>>>;

/// How far a replica had read a log at some moment; nothing when nobody watches it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadUpTo(Option<Cursor>);

impl ReadUpTo {
    /// A log whose end, read later, is before what had been read lost its end: a restored backup, or a hand in the
    /// database.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn check(self, namespace: &NamespaceId, end: Cursor) -> Result<()> {
        if self.0 <= Some(end) {
            return Ok(());
        }
        Err(Error::data_loss(format!("{}: its log lost its end", namespace.name())))
    }
}

impl Hub {
    /// A hub without feeds. `ring_capacity` is in activations per namespace: a subscriber further behind than that reads
    /// from the database.
    #[must_use]
    pub fn new(store: Store, verify: Arc<dyn Verify>, ring_capacity: usize, clock: fn() -> Micros) -> Self {
        Self { store, verify, ring_capacity, clock, feeds: Mutex::default(), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed of a namespace, read from the database when nobody watched it before.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn feed(&self, namespace: &NamespaceId) -> Result<Arc<Feed>> {
        let cell = Arc::clone(self.lock().entry(namespace.clone()).or_default());
        let read = cell.get_or_try_init(|| self.read(namespace)).await.map(Arc::clone);
        if read.is_err() {
            // A namespace that is not there, or can't be read now, leaves nothing behind.
            let mut feeds = self.lock();
            let is_mine = |kept: &Arc<OnceCell<_>>| Arc::ptr_eq(kept, &cell) && !kept.initialized();
            // Two hold it: the map and this call. A third is still reading.
            if feeds.get(namespace).is_some_and(is_mine) && Arc::strong_count(&cell) == 2 {
                feeds.remove(namespace);
            }
        }
        read
    }

    async fn read(&self, namespace: &NamespaceId) -> Result<Arc<Feed>> {
        let now = (self.clock)();
        let tx = self.store.read().await?;
        let found = tx.namespace(namespace).await?;
        let head = Head { cursor: found.cursor, hash: found.head_hash };
        let set = active_set(&tx, &*self.verify, namespace, head).await?;
        Ok(Arc::new(Feed::new(set, now, self.ring_capacity)))
    }

    /// The feed of a namespace, if it has one.
    pub fn existing(&self, namespace: &NamespaceId) -> Option<Arc<Feed>> {
        self.lock().get(namespace).and_then(|cell| cell.get().cloned())
    }

    /// How far this replica has read a log. Ask before the transaction that reads or writes it.
    pub fn read_up_to(&self, namespace: &NamespaceId) -> ReadUpTo {
        ReadUpTo(self.existing(namespace).map(|feed| feed.head().cursor))
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
    pub(super) fn feeds(&self) -> Vec<Arc<Feed>> {
        self.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }

    pub(super) fn now(&self) -> Micros {
        (self.clock)()
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
