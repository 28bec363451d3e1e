//! The feeds of a replica, by namespace. One is read when it is first asked for, and dropped when nobody has used it for long. Their rings
//! share one budget.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::feed::Feed;
use super::freshness::PollResult;
use super::ring_budget::RingBudget;
use crate::domain::name::NamespaceId;

/// A feed, or the read of it: it is read once, however many callers ask for it at once, and none waits for that of another namespace.
pub(super) type FeedCell = Arc<OnceCell<Arc<Feed>>>;

/// The feeds of a replica.
#[derive(Debug)]
pub(super) struct Feeds(Mutex<FeedsState>);

#[derive(Debug)]
struct FeedsState {
    feeds: BTreeMap<NamespaceId, Kept>,
    rings: RingBudget,
}

#[derive(Debug, Default)]
struct Kept {
    cell: FeedCell,
    /// Whether a caller asked for it since the last `drop_unused`.
    is_used: bool,
}

impl Kept {
    /// Whether it may be dropped: without streams and calls that hold it. What was read is kept while the database does not answer: it
    /// may be all that can be served.
    fn is_idle(&self) -> bool {
        let is_idle =
            |feed: &Arc<Feed>| Arc::strong_count(feed) == 1 && feed.freshness().last_poll == PollResult::CaughtUp;
        Arc::strong_count(&self.cell) == 1 && self.cell.get().is_some_and(is_idle)
    }
}

impl Feeds {
    /// Creates an empty collection, whose rings may hold so many bytes together.
    pub(super) fn new(rings_max_bytes: usize) -> Self {
        Self(Mutex::new(FeedsState { feeds: BTreeMap::new(), rings: RingBudget::new(rings_max_bytes) }))
    }

    fn lock(&self) -> MutexGuard<'_, FeedsState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the feed of a namespace, if there is one, and records that it is used.
    pub(super) fn existing(&self, namespace: &NamespaceId) -> Option<Arc<Feed>> {
        let mut state = self.lock();
        let kept = state.feeds.get_mut(namespace)?;
        kept.is_used = true;
        kept.cell.get().cloned()
    }

    /// Returns the feed of a namespace, and makes an empty one when there is none. Its caller has to read it.
    pub(super) fn cell(&self, namespace: &NamespaceId) -> FeedCell {
        let mut state = self.lock();
        let kept = state.feeds.entry(namespace.clone()).or_default();
        kept.is_used = true;
        Arc::clone(&kept.cell)
    }

    /// Removes a feed that could not be read, unless another caller is still reading it.
    pub(super) fn remove_unread(&self, namespace: &NamespaceId, cell: &FeedCell) {
        let feeds = &mut self.lock().feeds;
        let is_mine = |kept: &Kept| Arc::ptr_eq(&kept.cell, cell) && !kept.cell.initialized();
        // Two owners hold it: the map and this call. A third one is still reading.
        if feeds.get(namespace).is_some_and(is_mine) && Arc::strong_count(cell) == 2 {
            feeds.remove(namespace);
        }
    }

    /// Removes a feed that has ended.
    pub(super) fn remove(&self, feed: &Arc<Feed>) {
        let namespace = feed.namespace();
        let is_it = |kept: &Kept| kept.cell.get().is_some_and(|kept| Arc::ptr_eq(kept, feed));
        let FeedsState { feeds, rings } = &mut *self.lock();
        if feeds.get(namespace).is_some_and(is_it) {
            feeds.remove(namespace);
            rings.set(namespace, 0);
        }
    }

    /// Returns every feed that was read.
    pub(super) fn all(&self) -> Vec<Arc<Feed>> {
        self.lock().feeds.values().filter_map(|kept| kept.cell.get().cloned()).collect()
    }

    /// Returns the feeds of these namespaces, and the namespaces whose feed is being read now.
    pub(super) fn of(
        &self,
        namespaces: impl IntoIterator<Item = NamespaceId>,
    ) -> (BTreeMap<NamespaceId, Arc<Feed>>, Vec<NamespaceId>) {
        let feeds = &self.lock().feeds;
        let (mut found, mut unread) = (BTreeMap::new(), Vec::new());
        for namespace in namespaces {
            match feeds.get(&namespace).map(|kept| kept.cell.get()) {
                Some(Some(feed)) => drop(found.insert(namespace, Arc::clone(feed))),
                Some(None) => unread.push(namespace),
                None => {}
            }
        }
        (found, unread)
    }

    /// Drops the feeds that nobody has used since the call before.
    pub(super) fn drop_unused(&self) {
        // Held until the lock is released: an active set may take long to free.
        let mut dropped = Vec::new();
        let FeedsState { feeds, rings } = &mut *self.lock();
        feeds.retain(|namespace, kept| {
            let was_used = std::mem::take(&mut kept.is_used);
            let is_kept = was_used || !kept.is_idle();
            if !is_kept {
                rings.set(namespace, 0);
                dropped.push(Arc::clone(&kept.cell));
            }
            is_kept
        });
    }

    /// Records what the ring of a namespace holds now, and lets the largest rings release their oldest frames until all rings fit the
    /// budget. Returns the number of frames that were released. Nothing in it grows with the number of feeds but by its logarithm.
    pub(super) fn fit_rings(&self, changed: &NamespaceId) -> usize {
        // Held until the lock is released: a frame may take long to free.
        let mut released = Vec::new();
        let FeedsState { feeds, rings } = &mut *self.lock();
        let feed = |namespace: &NamespaceId| feeds.get(namespace).and_then(|kept| kept.cell.get());
        rings.set(changed, feed(changed).map_or(0, |feed| feed.releasable_bytes()));
        while let Some(largest) = rings.must_release() {
            let left = feed(&largest).map_or(0, |feed| {
                released.extend(feed.release_oldest());
                feed.releasable_bytes()
            });
            rings.set(&largest, left);
        }
        released.len()
    }
}
