//! A subscriber's cursor: pulled by its own socket, never pushed to.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::feed::Feed;
use super::frames::{Verify, read_on};
use super::ring::After;
use crate::domain::bundle::{Activation, ActiveBundle, ActiveSet};
use crate::domain::command::Watch;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::PolicyId;
use crate::domain::{Error, Reason, Result};
use crate::store::Store;

/// Events read at once for a subscriber behind the ring: what such a subscriber holds.
const BEHIND_MAX_EVENTS: u32 = 8;

/// One watch.
#[derive(Debug)]
pub struct Subscription {
    feed: Arc<Feed>,
    store: Store,
    verify: Arc<dyn Verify>,
    policies: BTreeSet<PolicyId>,
    latest: bool,
    /// Where the subscriber is; `None` until it has its snapshot.
    cursor: Option<Cursor>,
    /// Read from the database, not yet delivered. At most one page.
    behind: VecDeque<Activation>,
    /// Where the database page ended, with the hash that the next event must follow.
    behind_head: Option<Head>,
    moved: watch::Receiver<Cursor>,
}

/// What a subscriber is due next.
#[derive(Debug)]
pub enum Step {
    /// The state to start from.
    Snapshot {
        /// What it asked for.
        set: ActiveSet,
        /// The whole set.
        whole: ActiveSet,
    },
    /// One activation.
    Activation(Arc<Activation>),
    /// Nothing until the head moves.
    Level,
}

impl Subscription {
    pub(super) fn open(feed: Arc<Feed>, watch: &Watch, store: Store, verify: Arc<dyn Verify>) -> Result<Self> {
        // Listening starts before the cursor is compared: a move in between is heard.
        let moved = feed.listen();
        let epoch = feed.head().cursor.epoch;
        if let Some(resume) = watch.resume
            && resume.epoch != epoch
        {
            return Err(resume_point_gone(resume, epoch));
        }
        Ok(Self {
            feed,
            store,
            verify,
            policies: watch.policies.clone(),
            latest: watch.latest,
            cursor: watch.resume,
            behind: VecDeque::new(),
            behind_head: None,
            moved,
        })
    }

    /// Where it is; `None` before its snapshot.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Its feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    fn wants(&self, policy: &PolicyId) -> bool {
        self.policies.is_empty() || self.policies.contains(policy)
    }

    /// What is due now. Never waits for a change; reads the database only when it is behind the ring.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn step(&mut self) -> Result<Step> {
        // A wake that comes from here on is a new one.
        self.moved.mark_unchanged();
        let Some(cursor) = self.cursor else { return Ok(self.snapshot()) };
        loop {
            let at = self.read_up_to(self.cursor.unwrap_or(cursor));
            let next = match self.behind.pop_front() {
                Some(activation) => Arc::new(activation),
                None => match self.feed.after(at.revision) {
                    (After::Next(activation), _) => activation,
                    (After::Level, head) => {
                        // Events that moved nothing are passed over; a cursor ahead of the head stays.
                        self.cursor = Some(at.max(head));
                        self.behind_head = None;
                        return Ok(Step::Level);
                    }
                    (After::Behind, _) if self.latest => return Ok(self.snapshot()),
                    (After::Behind, _) => {
                        self.read_page(at).await?;
                        continue;
                    }
                },
            };
            self.cursor = Some(next.cursor);
            if let Some(mine) = self.filter(&next) {
                return Ok(Step::Activation(mine));
            }
        }
    }

    /// Where to look on from: behind a page that was delivered whole, past its last events too, which moved nothing.
    fn read_up_to(&self, cursor: Cursor) -> Cursor {
        match self.behind_head {
            Some(head) if self.behind.is_empty() => cursor.max(head.cursor),
            _ => cursor,
        }
    }

    /// Waits until the head has moved since the last step.
    pub async fn moved(&mut self) {
        if self.moved.changed().await.is_err() {
            // The feed outlives its subscriptions; if it ever does not, the heartbeat goes on.
            std::future::pending::<()>().await;
        }
    }

    fn snapshot(&mut self) -> Step {
        let whole = self.feed.active_set();
        self.cursor = Some(whole.cursor);
        self.behind.clear();
        self.behind_head = None;
        let bundles: Vec<ActiveBundle> =
            whole.bundles.iter().filter(|each| self.wants(&each.bundle.version.policy.policy)).cloned().collect();
        Step::Snapshot { set: ActiveSet { bundles, ..whole.clone() }, whole }
    }

    fn filter(&self, activation: &Arc<Activation>) -> Option<Arc<Activation>> {
        if self.policies.is_empty() {
            return Some(Arc::clone(activation));
        }
        let bundles: Vec<_> =
            activation.bundles.iter().filter(|each| self.wants(&each.version.policy.policy)).cloned().collect();
        let tombstones: Vec<_> = activation.tombstones.iter().filter(|policy| self.wants(policy)).cloned().collect();
        if bundles.is_empty() && tombstones.is_empty() {
            return None;
        }
        Some(Arc::new(Activation { bundles, tombstones, ..Activation::clone(activation) }))
    }

    /// Reads the next page after `at` from the database. The events must follow each other; the first page takes the
    /// hash of the event it follows from the log itself.
    async fn read_page(&mut self, at: Cursor) -> Result<()> {
        let tx = self.store.read().await?;
        let namespace = self.feed.namespace();
        let from = match self.behind_head {
            // Only when nothing was delivered from the ring since that page.
            Some(head) if head.cursor >= at => head,
            _ if at.revision == 0 => Head { cursor: at, hash: [0; 32] },
            _ => {
                let event = tx.event(namespace, at.revision).await?;
                Head { cursor: event.cursor, hash: event.hash }
            }
        };
        let (activations, head) = read_on(&tx, &*self.verify, namespace, from, BEHIND_MAX_EVENTS).await?;
        if head == from {
            return Err(Error::data_loss(format!("{namespace}: no event after {}", from.cursor.revision)));
        }
        self.behind = activations.into();
        self.behind_head = Some(head);
        if self.behind.is_empty() {
            self.cursor = Some(head.cursor);
        }
        Ok(())
    }
}

fn resume_point_gone(resume: Cursor, epoch: i64) -> Error {
    Error::new(
        Reason::ResumePointGone,
        format!("no stream can go on from epoch {} revision {}; watch without resume", resume.epoch, resume.revision),
    )
    .with("resume_epoch", resume.epoch)
    .with("resume_revision", resume.revision)
    .with("current_epoch", epoch)
}
