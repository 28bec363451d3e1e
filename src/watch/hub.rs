//! Opens watches and serves active sets, from the feeds of a replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::counts::WatchCounts;
use super::encode::{Encode, WatchFilter};
use super::feed::Feed;
use super::feeds::Feeds;
use super::freshness::{Freshness, PollResult};
use super::moved_logs::MovedLogs;
use super::read::active;
use super::read_index::ReadIndex;
use super::ring_budget::RingLimits;
use super::source::FeedSource;
use super::subscription::{StreamContext, Subscription};
use super::verify::Proof;
use super::view::ActiveView;
use crate::defect::{Defect, planted};
use crate::domain::bundle::Staleness;
use crate::domain::command::StartWatch;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::Store;

/// How long a read waits until its replica has read what was committed before.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time of the last comparison with the database, for a feed that was never compared.
const NEVER: Micros = Micros(0);

/// Opens watches, serves active sets, and holds the feeds that the log follower updates.
#[derive(Debug)]
pub struct Hub {
    source: FeedSource,
    ring_capacity: usize,
    clock: fn() -> Micros,
    feeds: Feeds,
    /// The newest commit of this process in each namespace.
    committed: Mutex<BTreeMap<NamespaceId, Cursor>>,
    read_index: ReadIndex,
    moved: MovedLogs,
}

/// How far a replica had read a log at some moment; none when it has no feed of it.
#[derive(Debug)]
pub struct ReadUpTo {
    store: Store,
    read: Option<Cursor>,
}

impl ReadUpTo {
    /// Suspects data loss when a log ends before the part that had been read: after a restored backup, or a manual change. Reads continue;
    /// a write checks for suspected loss before it commits.
    pub fn check_reaches(self, namespace: &NamespaceId, end: Cursor) {
        if let Some(read) = self.read.filter(|read| *read > end) {
            self.store.note_truncated_log(namespace, end, read);
        }
    }
}

/// An active set as new as every write that returned before the call; or, when the database does not answer, the newest that this replica
/// had verified.
#[derive(Debug, Clone)]
pub struct InForce {
    /// The active set.
    pub view: Arc<ActiveView>,
    /// Time at which it was last compared with the database.
    pub checked: Micros,
    /// Why something newer may exist.
    pub staleness: Staleness,
}

impl Hub {
    /// Creates a hub without feeds. A subscriber that is behind what `rings` allow reads from the database.
    #[must_use]
    pub fn new(
        store: Store,
        proof: Arc<dyn Proof>,
        encode: Arc<dyn Encode>,
        rings: RingLimits,
        clock: fn() -> Micros,
    ) -> Self {
        let read_index = ReadIndex::new(store.clone());
        let source = FeedSource { store, proof, encode, counts: Arc::default() };
        Self {
            source,
            ring_capacity: rings.events,
            clock,
            feeds: Feeds::new(rings.max_bytes),
            committed: Mutex::default(),
            read_index,
            moved: MovedLogs::default(),
        }
    }

    /// Returns the feed of a namespace, and reads it from the database when it is not there yet.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, or `STORE_IN_DOUBT` while data loss is suspected; `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn feed(&self, namespace: &NamespaceId) -> Result<Arc<Feed>> {
        if let Some(feed) = self.existing(namespace) {
            return Ok(feed);
        }
        let cell = self.feeds.cell(namespace);
        let read = cell.get_or_try_init(|| Box::pin(self.read(namespace))).await.map(Arc::clone);
        if read.is_err() {
            // A namespace that does not exist, or can't be read now, must leave no entry.
            self.feeds.remove_unread(namespace, &cell);
        }
        read
    }

    async fn read(&self, namespace: &NamespaceId) -> Result<Arc<Feed>> {
        if self.source.store.suspected_loss().is_some() {
            // The suspicion may have ended just now.
            self.source.store.check_for_loss().await?;
        }
        // A log that does not follow what this replica saw of it must not be reported as current.
        self.source.store.heads(std::slice::from_ref(namespace)).await?;
        // While loss is suspected nothing is known to be current: with the Unix epoch as its time, every checkpoint has expired.
        let freshness = if self.source.store.suspected_loss().is_some() {
            Freshness { checked: NEVER, last_poll: PollResult::SuspectedLoss }
        } else {
            Freshness { checked: self.now(), last_poll: PollResult::CaughtUp }
        };
        let tx = self.source.store.read().await?;
        let Some(found) = tx.find_namespace(namespace).await? else {
            // While loss is suspected, a namespace that is missing may have been lost.
            self.source.store.check_no_suspected_loss()?;
            return Err(namespace.not_found());
        };
        let head = Head { cursor: found.cursor, hash: found.head_hash };
        let active = match active(&tx, &*self.source.proof, namespace, head).await {
            Err(error) if error.reason == Reason::DataLoss => {
                self.freeze_if_moved(&tx, namespace, head).await?;
                return Err(error);
            }
            active => active?,
        };
        Ok(Arc::new(Feed::new(namespace.clone(), self.source.clone(), head, active, freshness, self.ring_capacity)))
    }

    /// Returns the feed of a namespace, if there is one.
    pub fn existing(&self, namespace: &NamespaceId) -> Option<Arc<Feed>> {
        self.feeds.existing(namespace)
    }

    /// Returns how far this replica has read a log. Call it before the transaction that reads or writes the log.
    pub fn read_up_to(&self, namespace: &NamespaceId) -> ReadUpTo {
        let read = self.existing(namespace).map(|feed| feed.head().cursor);
        ReadUpTo { store: self.source.store.clone(), read }
    }

    /// Opens the watch of a namespace. With `keys` it sends key statements too, shared by all watches of one stream.
    ///
    /// # Errors
    /// The same as `feed`, and `RESUME_POINT_GONE` for a cursor of another epoch.
    pub async fn subscribe(&self, watch: &StartWatch, stream: StreamContext) -> Result<Subscription> {
        self.check_thawed(&watch.namespace).await?;
        let mut subscription = Subscription::open(self.feed(&watch.namespace).await?, watch, stream)?;
        subscription.check_resume_point().await?;
        if planted(Defect::SnapshotThenSubscribe) {
            subscription.begin_snapshot();
            self.read_index.head(&watch.namespace, &self.source.counts).await?;
        }
        Ok(subscription)
    }

    /// Returns the active set from memory: at least as new as every write that returned before this call (docs/guarantees.md#g4).
    ///
    /// # Errors
    /// The same as `feed`; `DATA_LOSS` for a log that does not continue from what was read.
    pub async fn in_force(&self, namespace: &NamespaceId) -> Result<InForce> {
        self.check_thawed(namespace).await?;
        let feed = self.feed(namespace).await?;
        if planted(Defect::CachedGetActive) {
            return Ok(in_force(&feed, Staleness::default()));
        }
        if self.source.store.suspected_loss().is_some() {
            return Ok(in_force(&feed, PollResult::SuspectedLoss.staleness()));
        }
        // Read this before the head is queried: what was read by then must be in the log.
        let read = feed.head().cursor;
        let needed = match self.committed_before(namespace).await {
            Ok(needed) => needed,
            // Fail static: what was verified is still served, with its age (docs/guarantees.md#g17).
            Err(error) if error.reason.is_of_the_database() => {
                return Ok(in_force(&feed, PollResult::Unanswered.staleness()));
            }
            Err(error) if error.reason == Reason::NamespaceNotFound => {
                if self.source.store.detects_loss().await {
                    return Ok(in_force(&feed, PollResult::SuspectedLoss.staleness()));
                }
                return Err(self.why_missing(namespace).await);
            }
            Err(error) => return Err(error),
        };
        if self.source.store.suspected_loss().is_some() || (needed < read && !self.source.store.is_sole_writer()) {
            // Reading the head made data loss suspected: what was verified is still served (docs/guarantees.md#g1b).
            return Ok(in_force(&feed, PollResult::SuspectedLoss.staleness()));
        }
        if feed.head().cursor < needed {
            self.note_moved([namespace.clone()]);
            let mut moved = feed.signals().head();
            let level = tokio::time::timeout(CATCH_UP_TIMEOUT, moved.wait_for(|head| *head >= needed)).await;
            if level.is_err() && feed.freshness().last_poll != PollResult::Invalid {
                return Ok(in_force(&feed, PollResult::Unanswered.staleness()));
            }
        }
        match feed.freshness().last_poll {
            PollResult::Invalid if self.source.store.detects_loss().await => {
                Ok(in_force(&feed, PollResult::SuspectedLoss.staleness()))
            }
            PollResult::Invalid => Err(lost_its_end(namespace)),
            PollResult::Deleted => Err(namespace.not_found()),
            PollResult::SuspectedLoss => Ok(in_force(&feed, PollResult::SuspectedLoss.staleness())),
            PollResult::CaughtUp | PollResult::Unanswered => Ok(in_force(&feed, Staleness::default())),
        }
    }

    /// Returns the head of a log, at least as new as every write that returned before this call.
    async fn committed_before(&self, namespace: &NamespaceId) -> Result<Cursor> {
        if self.source.store.is_sole_writer() {
            self.source.store.check_up()?;
            let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(committed.get(namespace).copied().unwrap_or_default());
        }
        self.read_index.head(namespace, &self.source.counts).await
    }

    /// Records a head that was read under the lock of its namespace. It may be of a commit whose outcome was unknown, or of another
    /// process: a caller that saw it must not read an older state afterwards (docs/guarantees.md#g4).
    pub fn note_found_head(&self, namespace: &NamespaceId, cursor: Cursor) {
        let is_known = {
            let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            committed.get(namespace).is_some_and(|newest| *newest >= cursor)
        };
        if !is_known {
            self.committed(namespace, cursor);
        }
    }

    /// Records a commit of this process, and wakes the log follower. Several commits before its next poll cause one poll.
    pub fn committed(&self, namespace: &NamespaceId, cursor: Cursor) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = committed.entry(namespace.clone()).or_default();
        *newest = cursor.max(*newest);
        drop(committed);
        self.note_moved([namespace.clone()]);
    }

    /// Checks that the whole active set may be served: none of it is signed by a revoked key.
    ///
    /// # Errors
    /// `KEY_STATE_WRONG`.
    pub fn check_trusted(&self, view: &ActiveView) -> Result<()> {
        view.check_trusted(&self.source)
    }

    /// Returns the checkpoint of an active set, as of when it was compared with the database.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails; `NAMESPACE_NOT_FOUND` when it was deleted meanwhile.
    pub fn checkpoint(&self, namespace: &NamespaceId, in_force: &InForce) -> Result<String> {
        let feed = self.existing(namespace).ok_or_else(|| namespace.not_found())?;
        Ok(feed.checkpoint(&in_force.view, in_force.checked)?.to_string())
    }

    /// Proves the active versions of these policies; empty when all are meant.
    #[must_use]
    pub fn prove(&self, view: &ActiveView, policies: &BTreeSet<PolicyId>) -> Bytes {
        view.proof(&WatchFilter::of_policies(policies.clone()))
    }

    /// Returns why a namespace has no head: it does not exist, or its row can't be read.
    pub(super) async fn why_missing(&self, namespace: &NamespaceId) -> Error {
        let found = async { self.source.store.read().await?.find_namespace(namespace).await };
        match found.await {
            Ok(None) => namespace.not_found(),
            Ok(Some(_)) => Error::data_loss(format!("{namespace}: its row was not there before")),
            Err(error) => error,
        }
    }

    /// Drops the feed of a namespace that was deleted: its streams end, and later callers get `NAMESPACE_NOT_FOUND`.
    pub(super) fn end(&self, feed: &Arc<Feed>) {
        self.feeds.remove(feed);
        feed.end();
    }

    /// Returns the namespaces that have a feed.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceId> {
        self.feeds.all().iter().map(|feed| feed.namespace().clone()).collect()
    }

    /// Returns the digest of an active set, as in its checkpoint.
    #[must_use]
    pub fn set_digest(&self, view: &ActiveView) -> crate::domain::digest::Digest {
        view.digest(&*self.source.proof).clone()
    }

    /// Returns the counters of this replica.
    #[must_use]
    pub fn counts(&self) -> Arc<WatchCounts> {
        Arc::clone(&self.source.counts)
    }

    pub(super) fn feeds(&self) -> &Feeds {
        &self.feeds
    }

    pub(super) fn now(&self) -> Micros {
        (self.clock)()
    }

    pub(super) fn source(&self) -> &FeedSource {
        &self.source
    }

    /// Makes the log follower look at these logs now.
    pub fn note_moved(&self, namespaces: impl IntoIterator<Item = NamespaceId>) {
        self.moved.add(namespaces);
    }

    /// Makes the log follower poll now.
    pub fn poll(&self) {
        self.moved.poll();
    }

    pub(super) fn moved(&self) -> &MovedLogs {
        &self.moved
    }
}

fn in_force(feed: &Feed, staleness: Staleness) -> InForce {
    let (view, Freshness { checked, .. }) = feed.view();
    InForce { view, checked, staleness }
}

fn lost_its_end(namespace: &NamespaceId) -> Error {
    Error::data_loss(format!("{}: its log lost its end", namespace.name()))
}
