//! The feed of one namespace: its active set, its head and its newest activations, as far as the log follower has read.
//!
//! A snapshot and the changes after it meet at one cursor, because both are read under one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::change_signal::ChangeSignals;
use super::checkpoints::Checkpoints;
use super::encode::WatchFilter;
use super::fingerprints::{FingerprintCache, RecentFingerprints, resume_point_gone};
use super::frame::Frame;
use super::freshness::{Freshness, PollResult};
use super::pages::{LogPage, LogPageCache, PageStart};
use super::read::{VerifiedEvents, trees_after};
use super::ring::{After, Ring};
use super::source::FeedSource;
use super::view::{ActiveBundles, ActiveView};
use crate::domain::Result;
use crate::domain::event::{Cursor, Head, Position};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;

/// A replica's state of a namespace that was asked for.
#[derive(Debug)]
pub struct Feed {
    namespace: NamespaceId,
    source: FeedSource,
    state: Mutex<FeedState>,
    pages: LogPageCache,
    fingerprints: FingerprintCache,
    checkpoints: Checkpoints,
    signals: ChangeSignals,
}

#[derive(Debug)]
struct FeedState {
    head: Head,
    freshness: Freshness,
    active: Arc<ActiveBundles>,
    /// Built on demand, dropped when the head moves.
    view: Option<Arc<ActiveView>>,
    ring: Ring,
    recent: RecentFingerprints,
}

impl Feed {
    pub(super) fn new(
        namespace: NamespaceId,
        source: FeedSource,
        head: Head,
        active: ActiveBundles,
        freshness: Freshness,
        ring_capacity: usize,
    ) -> Self {
        let ring = Ring::new(head.cursor, ring_capacity);
        let recent = RecentFingerprints::new(head);
        Self {
            namespace,
            source,
            state: Mutex::new(FeedState { head, freshness, active: Arc::new(active), view: None, ring, recent }),
            pages: LogPageCache::default(),
            fingerprints: FingerprintCache::default(),
            checkpoints: Checkpoints::default(),
            signals: ChangeSignals::new(head.cursor),
        }
    }

    fn state(&self) -> MutexGuard<'_, FeedState> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the namespace of the feed.
    #[must_use]
    pub fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// Returns how far the feed has read.
    #[must_use]
    pub fn head(&self) -> Head {
        self.state().head
    }

    /// Returns the state at the head, and how fresh it is.
    #[must_use]
    pub fn view(&self) -> (Arc<ActiveView>, Freshness) {
        let mut state = self.state();
        let FeedState { head, freshness, active, view, .. } = &mut *state;
        let view = view.get_or_insert_with(|| Arc::new(ActiveView::new(*head, Arc::clone(active))));
        (Arc::clone(view), *freshness)
    }

    /// Returns how fresh the feed is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.state().freshness
    }

    /// Returns what follows a cursor, and the head at that moment: read separately, an activation could come between them.
    pub(super) fn after(&self, at: Cursor) -> (After, Head) {
        let state = self.state();
        (state.ring.after(at), state.head)
    }

    /// Returns the size of the frames that its ring can release.
    pub(super) fn releasable_bytes(&self) -> usize {
        self.state().ring.releasable_bytes()
    }

    /// Removes the oldest frame of its ring, unless it is the newest one too, and returns it.
    pub(super) fn release_oldest(&self) -> Option<Arc<Frame>> {
        self.state().ring.release_oldest()
    }

    /// Checks that the event of a position is the one at its cursor in the log. It passes when it names no event, or is ahead of this
    /// replica.
    ///
    /// # Errors
    /// `RESUME_POINT_GONE`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn check(&self, position: Position) -> Result<()> {
        let Position { cursor, event: Some(named) } = position else { return Ok(()) };
        let (head, recent) = {
            let state = self.state();
            (state.head, state.recent.get(cursor))
        };
        if cursor > head.cursor {
            return Ok(());
        }
        let found = match recent {
            Some(found) => Some(found),
            // Boxed: thousands of streams that resume at once find it in memory.
            None => Box::pin(self.fingerprints.read(&self.source, &self.namespace, cursor)).await?,
        };
        if found == Some(named) { Ok(()) } else { Err(resume_point_gone(cursor, head.cursor.epoch)) }
    }

    /// Returns the page of the log that comes after a cursor which the ring no longer holds.
    pub(super) async fn page(&self, at: Cursor, known: Option<Head>, is_filtered: bool) -> Result<Arc<LogPage>> {
        self.pages.after(&self.source, &self.namespace, PageStart { at, known }, is_filtered).await
    }

    pub(super) fn source(&self) -> &FeedSource {
        &self.source
    }

    /// Returns the checkpoint of exactly this view, as of `checked`.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn checkpoint(&self, view: &ActiveView, checked: Micros) -> Result<Arc<str>> {
        self.checkpoints.checkpoint(&self.source, &self.namespace, view, checked)
    }

    /// Returns the heartbeat of a stream that has sent everything up to `at`; none when the head has moved on meanwhile.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn heartbeat(&self, at: Cursor, filter: &WatchFilter) -> Result<Option<Bytes>> {
        if at < self.head().cursor {
            return Ok(None);
        }
        let (view, freshness) = self.view();
        let head = view.head().cursor;
        if at != head {
            // The stream resumed ahead of what this replica has read: it gets a heartbeat without a proof. Otherwise the head moved just
            // now.
            let staleness = freshness.last_poll.staleness();
            return Ok((at > head).then(|| self.source.encode.heartbeat(&self.namespace, None, staleness)));
        }
        self.checkpoints.heartbeat(&self.source, &self.namespace, &view, freshness, filter).map(Some)
    }

    pub(super) fn signals(&self) -> &ChangeSignals {
        &self.signals
    }

    /// Waits until the head is another one than `seen`, and returns it. It costs nothing while the log rests.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND` once the namespace was deleted.
    pub async fn moved_from(&self, seen: Cursor) -> Result<Cursor> {
        let mut signals = self.signals.head();
        let moved = signals.wait_for(|head| *head != seen).await.map(|head| *head);
        if self.freshness().last_poll == PollResult::Deleted {
            return Err(self.namespace.not_found());
        }
        moved.map_err(|_| self.namespace.not_found())
    }

    /// Returns the number of streams that listen now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.signals.listeners()
    }

    /// Records the result of a poll that began at `now`.
    pub(super) fn record_poll(&self, result: PollResult, now: Micros) {
        self.pages.prune();
        let mut state = self.state();
        state.freshness.last_poll = result;
        if result == PollResult::CaughtUp {
            state.freshness.checked = now;
        }
    }

    /// Records that the namespace is permanently gone: its streams end.
    pub(super) fn end(&self) {
        let head = {
            let mut state = self.state();
            state.freshness.last_poll = PollResult::Deleted;
            state.head
        };
        self.signals.moved(head.cursor);
    }

    /// Adds all that the log follower read, then sends one signal. `checked` is given when the read ended at the head of the log, as of
    /// that time.
    ///
    /// # Errors
    /// `DATA_LOSS` when the result does not have the roots that its signed events name: then nothing is added.
    pub(super) fn advance(&self, read: VerifiedEvents, checked: Option<Micros>) -> Result<()> {
        let VerifiedEvents { events, activations, end: head, raised } = read;
        {
            let mut state = self.state();
            let trees = trees_after(&self.namespace, Arc::clone(state.active.tree()), &activations)?;
            state.view = None;
            if let (Some(_), Some(checked)) = (raised, checked) {
                // Set this before any stream wakes: a raised epoch has to be proven by a checkpoint that has not expired, and state that
                // was read while loss was suspected has none.
                state.freshness = Freshness { checked, last_poll: PollResult::CaughtUp };
            }
            // It follows what was verified before: a caller that waits for it need not wait for the end of the poll.
            if state.freshness.last_poll != PollResult::SuspectedLoss {
                state.freshness.last_poll = PollResult::CaughtUp;
            }
            if let Some(raised) = raised {
                state.ring.raise(raised);
            }
            for (activation, tree) in activations.into_iter().zip(trees) {
                // A view that is still in use keeps its set: only then the bundles are copied.
                Arc::make_mut(&mut state.active).change(&activation, Arc::clone(&tree));
                state.ring.push(Arc::new(Frame::new(activation, Some(tree))));
            }
            state.recent.extend(events);
            state.head = head;
        }
        self.signals.moved(head.cursor);
        Ok(())
    }

    /// Restarts at a head that does not follow what was read: the store lost its tail, and its epoch was raised. Subscribers of the
    /// previous epoch get a snapshot.
    pub(super) fn reset(&self, head: Head, active: ActiveBundles, now: Micros) {
        {
            let mut state = self.state();
            // Set this before any stream wakes: a raised epoch has to be proven by a checkpoint that has not expired.
            state.freshness = Freshness { checked: now, last_poll: PollResult::CaughtUp };
            state.active = Arc::new(active);
            state.head = head;
            state.view = None;
            state.ring.reset(head.cursor);
            state.recent = RecentFingerprints::new(head);
        }
        self.signals.moved(head.cursor);
    }
}
