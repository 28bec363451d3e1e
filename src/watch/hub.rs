//! All feeds of a replica. A namespace has one from the first time somebody asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, OnceCell};

use super::counts::Counts;
use super::encode::{Encode, Filter};
use super::feed::Feed;
use super::freshness::{Freshness, Look};
use super::keys_told::KeysTold;
use super::read::active;
use super::read_index::ReadIndex;
use super::source::Source;
use super::subscription::Subscription;
use super::verify::Proof;
use super::view::View;
use crate::defect::{Defect, planted};
use crate::domain::bundle::Staleness;
use crate::domain::command::Watch;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::Store;

/// How long a read waits until its replica has read what was committed before it.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(2);

/// When a feed was compared with the database that never was.
const NEVER: Micros = Micros(0);

/// Opens watches, answers what is in force, and holds what the tailer fills.
#[derive(Debug)]
pub struct Hub {
    source: Source,
    ring_capacity: usize,
    clock: fn() -> Micros,
    feeds: Mutex<Feeds>,
    /// The newest commit of this process in each namespace.
    committed: Mutex<BTreeMap<NamespaceId, Cursor>>,
    read_index: ReadIndex,
    wake: Notify,
}

/// A feed is read once, however many ask for it at once; nobody waits for the feed of another namespace.
type Feeds = BTreeMap<NamespaceId, Arc<OnceCell<Arc<Feed>>>>;

/// How far a replica had read a log at some moment; nothing when it has no feed of it.
#[derive(Debug)]
pub struct ReadUpTo {
    store: Store,
    read: Option<Cursor>,
}

impl ReadUpTo {
    /// Puts the store in doubt when a log ends before what had been read of it: a restored backup, or a hand in the database.
    /// Reads go on; a write checks the doubt before it commits.
    pub fn check_reaches(self, namespace: &NamespaceId, end: Cursor) {
        if let Some(read) = self.read.filter(|read| *read > end) {
            self.store.ends_before(namespace, end, read);
        }
    }
}

/// What is in force, as new as every write that returned before the question; or, when the database does not answer,
/// the newest this replica had verified.
#[derive(Debug, Clone)]
pub struct InForce {
    /// What is in force.
    pub view: Arc<View>,
    /// When it was compared with the database last.
    pub checked: Micros,
    /// Why something newer may exist.
    pub staleness: Staleness,
}

impl Hub {
    /// A hub without feeds. `ring_capacity` is in activations per namespace: a subscriber further behind than that reads
    /// from the database.
    #[must_use]
    pub fn new(
        store: Store,
        proof: Arc<dyn Proof>,
        encode: Arc<dyn Encode>,
        ring_capacity: usize,
        clock: fn() -> Micros,
    ) -> Self {
        let read_index = ReadIndex::new(store.clone());
        let source = Source { store, proof, encode, counts: Arc::default() };
        Self {
            source,
            ring_capacity,
            clock,
            feeds: Mutex::default(),
            committed: Mutex::default(),
            read_index,
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Feeds> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed of a namespace, read from the database when nobody asked for it before.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, in doubt `STORE_IN_DOUBT`; `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn feed(&self, namespace: &NamespaceId) -> Result<Arc<Feed>> {
        if let Some(feed) = self.existing(namespace) {
            return Ok(feed);
        }
        let cell = Arc::clone(self.lock().entry(namespace.clone()).or_default());
        let read = cell.get_or_try_init(|| Box::pin(self.read(namespace))).await.map(Arc::clone);
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
        if self.source.store.doubt().is_some() {
            // It may have ended just now.
            self.source.store.examine().await?;
        }
        // A log that does not lead on from what this replica saw of it must not be called the newest.
        self.source.store.heads(std::slice::from_ref(namespace)).await?;
        // In doubt nothing was ever known to be the newest: the Unix epoch makes every checkpoint of it one that has expired.
        let freshness = if self.source.store.doubt().is_some() {
            Freshness { checked: NEVER, last_look: Look::InDoubt }
        } else {
            Freshness { checked: self.now(), last_look: Look::Level }
        };
        let tx = self.source.store.read().await?;
        let Some(found) = tx.find_namespace(namespace).await? else {
            // In doubt nobody knows whether it is there.
            self.source.store.check_beyond_doubt()?;
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

    /// The feed of a namespace, if it has one.
    pub fn existing(&self, namespace: &NamespaceId) -> Option<Arc<Feed>> {
        self.lock().get(namespace).and_then(|cell| cell.get().cloned())
    }

    /// How far this replica has read a log. Ask before the transaction that reads or writes it.
    pub fn read_up_to(&self, namespace: &NamespaceId) -> ReadUpTo {
        let read = self.existing(namespace).map(|feed| feed.head().cursor);
        ReadUpTo { store: self.source.store.clone(), read }
    }

    /// Opens the watch of a namespace. With `keys` it brings key statements too; those of one stream share them.
    ///
    /// # Errors
    /// As `feed`, and `RESUME_POINT_GONE` for a cursor of another epoch.
    pub async fn subscribe(&self, watch: &Watch, keys: Option<Arc<KeysTold>>) -> Result<Subscription> {
        self.check_thawed(&watch.namespace).await?;
        let mut subscription = Subscription::open(self.feed(&watch.namespace).await?, watch, keys)?;
        subscription.check_resume_point().await?;
        if planted(Defect::SnapshotThenSubscribe) {
            self.read_index.head(&watch.namespace, &self.source.counts).await?;
        }
        Ok(subscription)
    }

    /// What is in force now, from memory: at least as new as every write that returned before this call (docs/guarantees.md#g4).
    ///
    /// # Errors
    /// As `feed`; `DATA_LOSS` for a log that does not lead on from what was read.
    pub async fn in_force(&self, namespace: &NamespaceId) -> Result<InForce> {
        self.check_thawed(namespace).await?;
        let feed = self.feed(namespace).await?;
        if planted(Defect::CachedGetActive) {
            return Ok(in_force(&feed, Staleness::default()));
        }
        if self.source.store.doubt().is_some() {
            return Ok(in_force(&feed, Look::InDoubt.staleness()));
        }
        // Before the head is asked for: what was read by then must be in the log.
        let read = feed.head().cursor;
        let needed = match self.committed_before(namespace).await {
            Ok(needed) => needed,
            // Fail static: what was verified is served on, and says of itself how old it is (docs/guarantees.md#g17).
            Err(error) if error.reason.is_of_the_database() => {
                return Ok(in_force(&feed, Look::Unanswered.staleness()));
            }
            Err(error) if error.reason == Reason::NamespaceNotFound => {
                if self.source.store.is_found_in_doubt().await {
                    return Ok(in_force(&feed, Look::InDoubt.staleness()));
                }
                return Err(self.why_missing(namespace).await);
            }
            Err(error) => return Err(error),
        };
        if self.source.store.doubt().is_some() || (needed < read && !self.source.store.is_sole_writer()) {
            // The look at the head put the store in doubt: what was verified goes on (docs/guarantees.md#g1b).
            return Ok(in_force(&feed, Look::InDoubt.staleness()));
        }
        if feed.head().cursor < needed {
            self.wake();
            let mut moved = feed.pulses().listen();
            let level = tokio::time::timeout(LEVEL_TIMEOUT, moved.wait_for(|pulse| pulse.head >= needed)).await;
            if level.is_err() && feed.freshness().last_look != Look::Broken {
                return Ok(in_force(&feed, Look::Unanswered.staleness()));
            }
        }
        match feed.freshness().last_look {
            Look::Broken if self.source.store.is_found_in_doubt().await => {
                Ok(in_force(&feed, Look::InDoubt.staleness()))
            }
            Look::Broken => Err(lost_its_end(namespace)),
            Look::Gone => Err(namespace.not_found()),
            Look::InDoubt => Ok(in_force(&feed, Look::InDoubt.staleness())),
            Look::Level | Look::Unanswered => Ok(in_force(&feed, Staleness::default())),
        }
    }

    /// The head of a log, at least as new as every write that returned before this call.
    async fn committed_before(&self, namespace: &NamespaceId) -> Result<Cursor> {
        if self.source.store.is_sole_writer() {
            self.source.store.check_up()?;
            let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(committed.get(namespace).copied().unwrap_or_default());
        }
        self.read_index.head(namespace, &self.source.counts).await
    }

    /// Notes a head that was read under the lock of its namespace. It may be of a commit whose outcome nobody knew, or of another
    /// process beside this one: whoever is told of it must not read an older state afterwards (docs/guarantees.md#g4).
    pub fn found_committed(&self, namespace: &NamespaceId, cursor: Cursor) {
        let is_known = {
            let committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            committed.get(namespace).is_some_and(|newest| *newest >= cursor)
        };
        if !is_known {
            self.committed(namespace, cursor);
        }
    }

    /// Notes a commit of this process, and wakes the tailer. Many before the tailer looks are one.
    pub fn committed(&self, namespace: &NamespaceId, cursor: Cursor) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = committed.entry(namespace.clone()).or_default();
        *newest = cursor.max(*newest);
        drop(committed);
        self.wake();
    }

    /// Whether everything in force may be served: nothing of it is by a key that was revoked.
    ///
    /// # Errors
    /// `KEY_STATE_WRONG`.
    pub fn check_trusted(&self, view: &View) -> Result<()> {
        view.check_trusted(&self.source)
    }

    /// The checkpoint of what is in force, as of when it was compared with the database.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails; `NAMESPACE_NOT_FOUND` when it is gone meanwhile.
    pub fn checkpoint(&self, namespace: &NamespaceId, in_force: &InForce) -> Result<String> {
        let feed = self.existing(namespace).ok_or_else(|| namespace.not_found())?;
        Ok(feed.checkpoint(&in_force.view, in_force.checked)?.to_string())
    }

    /// Proves what is in force of these policies; empty when all are meant.
    #[must_use]
    pub fn prove(&self, view: &View, policies: &BTreeSet<PolicyId>) -> Bytes {
        view.proof(&Filter::of_policies(policies.clone()))
    }

    /// Returns why a namespace has no head: it is gone, or its row can't be read.
    pub(super) async fn why_missing(&self, namespace: &NamespaceId) -> Error {
        let look = async { self.source.store.read().await?.find_namespace(namespace).await };
        match look.await {
            Ok(None) => namespace.not_found(),
            Ok(Some(_)) => Error::data_loss(format!("{namespace}: its row was not there before")),
            Err(error) => error,
        }
    }

    /// Lets go of the feed of a namespace that is gone: its streams end, and whoever asks for it is told so.
    pub(super) fn end(&self, feed: &Arc<Feed>) {
        let is_it = |cell: &Arc<OnceCell<Arc<Feed>>>| cell.get().is_some_and(|kept| Arc::ptr_eq(kept, feed));
        self.lock().retain(|_, cell| !is_it(cell));
        feed.end();
    }

    /// The namespaces that somebody asked for.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceId> {
        self.feeds().iter().map(|feed| feed.namespace().clone()).collect()
    }

    /// Digest of an active set, as in its checkpoint.
    #[must_use]
    pub fn set_digest(&self, view: &View) -> crate::domain::digest::Digest {
        view.digest(&*self.source.proof).clone()
    }

    /// What this replica did so far.
    #[must_use]
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.source.counts)
    }

    /// Every feed.
    pub(super) fn feeds(&self) -> Vec<Arc<Feed>> {
        self.lock().values().filter_map(|cell| cell.get().cloned()).collect()
    }

    pub(super) fn now(&self) -> Micros {
        (self.clock)()
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Has the tailer look now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

fn in_force(feed: &Feed, staleness: Staleness) -> InForce {
    let (view, Freshness { checked, .. }) = feed.view();
    InForce { view, checked, staleness }
}

fn lost_its_end(namespace: &NamespaceId) -> Error {
    Error::data_loss(format!("{}: its log lost its end", namespace.name()))
}
