//! The feed of one namespace: its active set, its head and its newest activations, level with the tailer.
//!
//! Snapshot and tail are one cursor: both are read under one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::checkpoints::Checkpoints;
use super::encode::Filter;
use super::fingerprints::{FingerprintCache, RecentFingerprints, resume_point_gone};
use super::frame::Frame;
use super::freshness::{Freshness, Look};
use super::pages::{Page, PageStart, Pages};
use super::pulse::Pulses;
use super::read::{Read, trees_after};
use super::ring::{After, Ring};
use super::source::Source;
use super::view::{Active, View};
use crate::domain::Result;
use crate::domain::event::{Cursor, Head, Position};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;

/// What a replica knows of a namespace that somebody asked for.
#[derive(Debug)]
pub struct Feed {
    namespace: NamespaceId,
    source: Source,
    state: Mutex<State>,
    pages: Pages,
    fingerprints: FingerprintCache,
    checkpoints: Checkpoints,
    pulses: Pulses,
}

#[derive(Debug)]
struct State {
    head: Head,
    freshness: Freshness,
    active: Arc<Active>,
    /// Made when somebody asks, dropped when the head moves.
    view: Option<Arc<View>>,
    ring: Ring,
    recent: RecentFingerprints,
}

impl Feed {
    pub(super) fn new(
        namespace: NamespaceId,
        source: Source,
        head: Head,
        active: Active,
        freshness: Freshness,
        ring_capacity: usize,
    ) -> Self {
        let ring = Ring::new(head.cursor, ring_capacity);
        let recent = RecentFingerprints::new(head);
        Self {
            namespace,
            source,
            state: Mutex::new(State { head, freshness, active: Arc::new(active), view: None, ring, recent }),
            pages: Pages::default(),
            fingerprints: FingerprintCache::default(),
            checkpoints: Checkpoints::default(),
            pulses: Pulses::new(head.cursor),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics, and every change of the state is complete before it is released.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose feed it is.
    #[must_use]
    pub fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// How far it has read.
    #[must_use]
    pub fn head(&self) -> Head {
        self.state().head
    }

    /// The state at the head, and how fresh it is.
    #[must_use]
    pub fn view(&self) -> (Arc<View>, Freshness) {
        let mut state = self.state();
        let State { head, freshness, active, view, .. } = &mut *state;
        let view = view.get_or_insert_with(|| Arc::new(View::new(*head, Arc::clone(active))));
        (Arc::clone(view), *freshness)
    }

    /// How fresh it is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.state().freshness
    }

    /// What comes after a place, and the head that answer belongs to: read apart, an activation could slip between.
    pub(super) fn after(&self, at: Cursor) -> (After, Head) {
        let state = self.state();
        (state.ring.after(at), state.head)
    }

    /// Checks that the event a position names is the one that stands there; nothing when it names none, or is ahead of this
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
            None => self.fingerprints.read(&self.source, &self.namespace, cursor).await?,
        };
        if found == Some(named) { Ok(()) } else { Err(resume_point_gone(cursor, head.cursor.epoch)) }
    }

    /// The page of the log with what comes after a place behind the ring.
    pub(super) async fn page(&self, at: Cursor, known: Option<Head>, is_filtered: bool) -> Result<Arc<Page>> {
        self.pages.after(&self.source, &self.namespace, PageStart { at, known }, is_filtered).await
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the checkpoint of exactly this view, as of `checked`.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn checkpoint(&self, view: &View, checked: Micros) -> Result<Arc<str>> {
        self.checkpoints.checkpoint(&self.source, &self.namespace, view, checked)
    }

    /// Returns the heartbeat of a stream that has sent everything up to `at`; none when the head has moved on meanwhile.
    ///
    /// # Errors
    /// `INTERNAL` when signing fails.
    pub(super) fn heartbeat(&self, at: Cursor, filter: &Filter) -> Result<Option<Bytes>> {
        if at < self.head().cursor {
            return Ok(None);
        }
        let (view, freshness) = self.view();
        let head = view.head().cursor;
        if at != head {
            // The stream resumed ahead of what this replica has read: it is alive, and there is nothing to prove yet. Or the
            // head moved just now.
            let staleness = freshness.last_look.staleness();
            return Ok((at > head).then(|| self.source.encode.heartbeat(&self.namespace, None, staleness)));
        }
        self.checkpoints.heartbeat(&self.source, &self.namespace, &view, freshness, filter).map(Some)
    }

    pub(super) fn pulses(&self) -> &Pulses {
        &self.pulses
    }

    /// Streams that listen now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.pulses.listeners()
    }

    /// Notes how a look went that began at `now`.
    pub(super) fn looked(&self, look: Look, now: Micros) {
        self.pages.prune();
        let mut state = self.state();
        state.freshness.last_look = look;
        if look == Look::Level {
            state.freshness.checked = now;
        }
    }

    /// Notes that the namespace is gone for good: its streams end.
    pub(super) fn end(&self) {
        let head = {
            let mut state = self.state();
            state.freshness.last_look = Look::Gone;
            state.head
        };
        self.pulses.moved(head.cursor);
    }

    /// Takes in what the tailer read: all of it, then one wake. `checked` is given when the end of what was read is the
    /// head of the log, with the time as of which it is.
    ///
    /// # Errors
    /// `DATA_LOSS` when it does not make the roots that its events were sealed with: nothing of it is taken in.
    pub(super) fn advance(&self, read: Read, checked: Option<Micros>) -> Result<()> {
        let Read { events, activations, end: head, raised } = read;
        {
            let mut state = self.state();
            let trees = trees_after(&self.namespace, Arc::clone(state.active.tree()), &activations)?;
            state.view = None;
            if let (Some(_), Some(checked)) = (raised, checked) {
                // Before anybody is woken: a raised epoch has to be proven by a checkpoint that has not expired, and what was
                // read in doubt has none.
                state.freshness = Freshness { checked, last_look: Look::Level };
            }
            // It leads on from what was verified before: who waits for that need not wait for the look to end.
            if state.freshness.last_look != Look::InDoubt {
                state.freshness.last_look = Look::Level;
            }
            if let Some(raised) = raised {
                state.ring.raise(raised);
            }
            for (activation, tree) in activations.into_iter().zip(trees) {
                // A view that somebody holds keeps the set it has: what is in force is copied then, and only then.
                Arc::make_mut(&mut state.active).change(&activation, Arc::clone(&tree));
                state.ring.push(Arc::new(Frame::new(activation, Some(tree))));
            }
            state.recent.extend(events);
            state.head = head;
        }
        self.pulses.moved(head.cursor);
        Ok(())
    }

    /// Starts anew at a head that what was read does not lead to: the store lost its tail and says so by its epoch.
    /// Subscribers of the epoch before get a snapshot.
    pub(super) fn reset(&self, head: Head, active: Active, now: Micros) {
        {
            let mut state = self.state();
            // Before anybody is woken: a raised epoch has to be proven by a checkpoint that has not expired.
            state.freshness = Freshness { checked: now, last_look: Look::Level };
            state.active = Arc::new(active);
            state.head = head;
            state.view = None;
            state.ring.reset(head.cursor);
            state.recent = RecentFingerprints::new(head);
        }
        self.pulses.moved(head.cursor);
    }
}
