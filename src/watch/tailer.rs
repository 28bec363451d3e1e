//! The log follower: reads what was committed after each feed's head, by any replica.
//!
//! It is woken by commits of this replica and by NOTIFY for those of others, and then looks at their logs only. A poll alone is sufficient:
//! it compares every feed with the database, or, of many, some in turn and those whose logs have grown, so that no query grows with feeds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::feed::Feed;
use super::freshness::PollResult;
use super::hub::Hub;
use super::read::{active, read_on};
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::{ChangedLogs, ChangesAfter, ReadTx};

/// How long one poll may follow one log. Longer: a namespace with much to read delays the others.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(12);
/// Number of feeds that a poll compares with the database, whether or not their logs have grown: so a log that was cut or rewritten is
/// noticed. More: idle feeds cost more. Fewer: with more feeds than this, which have their turns, it is noticed later.
const COMPARED_PER_POLL: usize = 1_000;
/// Time after which a feed without streams is dropped, unless it is asked for meanwhile; at most twice as long. Shorter: a caller that
/// asks now and then has it read again, and an outage of the database finds it gone.
const FEED_IDLE: Duration = Duration::from_secs(300);

/// Where the next poll goes on.
#[derive(Debug, Default)]
struct PollProgress {
    changes_after: Option<ChangesAfter>,
    /// The last namespace that was compared in turn.
    compared: Option<NamespaceId>,
}

impl PollProgress {
    /// Returns the next feeds to compare; after the last one, the first are next.
    fn next_in_turn(&mut self, feeds: &[Arc<Feed>]) -> Vec<NamespaceId> {
        let first = feeds.partition_point(|feed| self.compared.as_ref().is_some_and(|last| feed.namespace() <= last));
        let turn = feeds.iter().cycle().skip(first).take(COMPARED_PER_POLL);
        let turn: Vec<_> = turn.map(|feed| feed.namespace().clone()).collect();
        self.compared = turn.last().cloned();
        turn
    }
}

impl Hub {
    /// Follows the logs until it is dropped. A failed poll is logged, and retried at the next one: no feed skips an event.
    pub async fn tail(&self, poll_interval: Duration) {
        let (mut poll, mut idle) = (interval(poll_interval), interval(FEED_IDLE));
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = PollProgress::default();
        loop {
            let is_due = tokio::select! {
                () = self.moved().woken() => false,
                _ = poll.tick() => true,
                _ = idle.tick() => {
                    self.drop_unused_feeds();
                    continue;
                }
            };
            let moved = self.moved().take();
            let followed = if is_due || moved.poll {
                self.poll_logs(&moved.namespaces, &mut progress).await
            } else {
                self.follow_moved(&moved.namespaces).await
            };
            let Err(error) = followed else { continue };
            self.moved().put_back(moved.namespaces);
            if error.reason.is_of_the_database() {
                tracing::debug!(%error, detail = error.internal, "failed to read the heads of the logs");
            } else {
                tracing::error!(%error, detail = error.internal, "failed to read the logs");
            }
            for feed in self.feeds().all() {
                feed.record_poll(PollResult::Unanswered, self.now());
            }
        }
    }

    /// Drops the feeds without streams that nobody has asked for since the call before.
    pub fn drop_unused_feeds(&self) {
        self.feeds().drop_unused();
    }

    /// Lets rings release frames until all fit the budget, after that of a namespace has changed.
    fn fit_rings(&self, changed: &NamespaceId) {
        self.source().counts.frames_released.add_many(self.feeds().fit_rings(changed));
    }

    /// Lets the feeds of logs that moved catch up.
    async fn follow_moved(&self, moved: &BTreeSet<NamespaceId>) -> Result<()> {
        let now = self.now();
        let feeds = self.feeds_of(moved.iter().cloned());
        self.catch_up(&feeds, now).await
    }

    /// Returns the feeds of some namespaces. One that is being read may have been read before its log moved: its turn comes again.
    fn feeds_of(&self, namespaces: impl IntoIterator<Item = NamespaceId>) -> BTreeMap<NamespaceId, Arc<Feed>> {
        let (feeds, unread) = self.feeds().of(namespaces);
        self.moved().put_back(unread);
        feeds
    }

    /// Lets every feed catch up with its log: those whose logs have grown are read, and the others are as new as this poll.
    async fn poll_logs(&self, moved: &BTreeSet<NamespaceId>, progress: &mut PollProgress) -> Result<()> {
        // Take the feeds before the time: one that is made later was compared later.
        let feeds = self.feeds().all();
        let now = self.now();
        if feeds.is_empty() {
            return self.follow_moved(moved).await;
        }
        let store = &self.source().store;
        let changed = if feeds.len() > COMPARED_PER_POLL {
            let ChangedLogs { namespaces, next } = store.changed_logs(progress.changes_after).await?;
            progress.changes_after = Some(next);
            namespaces
        } else {
            progress.changes_after = None;
            None
        };
        let mut due: BTreeSet<_> = match changed {
            Some(changed) if store.suspected_loss().is_none() => {
                let has_failed = |feed: &&Arc<Feed>| feed.freshness().last_poll != PollResult::CaughtUp;
                let failed = feeds.iter().filter(has_failed).map(|feed| feed.namespace().clone());
                failed.chain(progress.next_in_turn(&feeds)).chain(changed).chain(store.all_frozen()).collect()
            }
            _ => feeds.iter().map(|feed| feed.namespace().clone()).collect(),
        };
        due.extend(moved.iter().cloned());
        let due = self.feeds_of(due);
        self.catch_up(&due, now).await?;
        let is_in_doubt = store.suspected_loss().is_some();
        let result = if is_in_doubt { PollResult::SuspectedLoss } else { PollResult::CaughtUp };
        let is_other = |feed: &&Arc<Feed>| !due.contains_key(feed.namespace());
        // Nothing is reported as newer than the freeze: that one is due at the next poll.
        let is_frozen = |feed: &&Arc<Feed>| store.frozen(feed.namespace()).is_some();
        for feed in feeds.iter().filter(is_other).filter(|feed| !is_frozen(feed)) {
            feed.record_poll(result, now);
        }
        Ok(())
    }

    /// Compares feeds with the heads of their logs, and lets them catch up. A feed whose log does not verify stays where it is; the others
    /// continue.
    async fn catch_up(&self, feeds: &BTreeMap<NamespaceId, Arc<Feed>>, now: Micros) -> Result<()> {
        if feeds.is_empty() {
            return Ok(());
        }
        let store = &self.source().store;
        let namespaces: Vec<_> = feeds.keys().cloned().collect();
        self.source().counts.looks.add();
        self.source().counts.feeds_compared.add_many(namespaces.len());
        let heads: BTreeMap<_, _> = store.heads(&namespaces).await?.into_iter().collect();
        let is_raised = |feed: &Feed| {
            heads.get(feed.namespace()).is_some_and(|stored| stored.cursor.epoch > feed.head().cursor.epoch)
        };
        // With a raised epoch an operator accepts a loss: the suspicion may have ended just now.
        if store.suspected_loss().is_some() && feeds.values().any(|feed| is_raised(feed)) {
            store.check_for_loss().await?;
        }
        for (namespace, feed) in feeds {
            if store.suspected_loss().is_some() && is_raised(feed) {
                // Not every log is raised yet: until then, feeds continue with what was verified.
                feed.record_poll(PollResult::SuspectedLoss, now);
            } else if let Some(result) = self.catch_up_one(feed, heads.get(namespace).copied(), now).await {
                feed.record_poll(result, now);
            }
        }
        Ok(())
    }

    /// Lets a feed catch up with the stored head of its log, and returns how that went; nothing when its namespace is gone for good.
    async fn catch_up_one(&self, feed: &Arc<Feed>, stored: Option<Head>, now: Micros) -> Option<PollResult> {
        let (store, namespace) = (&self.source().store, feed.namespace());
        if let Err(error) = self.check_thawed(namespace).await {
            // What was verified is still served, and nothing is reported as newer than at the freeze.
            let is_frozen = error.reason == Reason::DataLoss;
            return Some(if is_frozen { PollResult::Invalid } else { PollResult::Unanswered });
        }
        // After a timeout what was read is kept: feeds advance page by page, and the next feed has its turn.
        let followed = tokio::time::timeout(FOLLOW_TIMEOUT, self.follow(feed, stored, now));
        let error = match followed.await {
            // What follows is verified and sent; an operator must decide whether it is the newest.
            Ok(Ok(())) if store.suspected_loss().is_some() => return Some(PollResult::SuspectedLoss),
            Ok(Ok(())) => {
                // It may have read beyond the head of this poll.
                store.note_read(namespace, feed.head());
                return Some(PollResult::CaughtUp);
            }
            Err(_) => {
                tracing::error!(%namespace, "failed to follow a log in time; going on with the others");
                return Some(PollResult::Unanswered);
            }
            Ok(Err(error)) => error,
        };
        Some(match error.reason {
            // A log that lost its tail, or a namespace that is lost: the suspicion was logged when it arose.
            Reason::DataLoss | Reason::NamespaceNotFound if store.detects_loss().await => PollResult::SuspectedLoss,
            Reason::NamespaceNotFound => {
                tracing::warn!(%namespace, "a namespace is gone, as the raised epoch says; ending its watches");
                self.end(feed);
                return None;
            }
            Reason::DataLoss => {
                tracing::error!(%namespace, %error, detail = error.internal, "failed to follow a log");
                PollResult::Invalid
            }
            // The outage was logged where it was noticed, and streams continue.
            reason if reason.is_of_the_database() => {
                tracing::debug!(%namespace, %error, detail = error.internal, "failed to read a log");
                PollResult::Unanswered
            }
            _ => {
                tracing::error!(%namespace, %error, detail = error.internal, "failed to follow a log");
                PollResult::Unanswered
            }
        })
    }

    /// Reads until the feed is at the stored head.
    async fn follow(&self, feed: &Feed, stored: Option<Head>, now: Micros) -> Result<()> {
        let namespace = feed.namespace();
        let Some(stored) = stored else { return Err(self.why_missing(namespace).await) };
        while feed.head() != stored {
            let read = feed.head();
            let tx = self.source().store.read().await?;
            if stored.cursor.epoch > read.cursor.epoch && !leads_on(&tx, namespace, read).await? {
                // Events read beyond the raised epoch are lost, as the signed event at the head shows.
                tracing::warn!(%namespace, read = ?read.cursor, stored = ?stored.cursor, "a log goes on in a new epoch");
                feed.reset(stored, active(&tx, &*self.source().proof, namespace, stored).await?, now);
                self.fit_rings(namespace);
                break;
            }
            let page = read_on(&tx, &*self.source().proof, namespace, read).await?;
            if page.end == read {
                // The log was cut or rewritten: what was read before is still served, and no longer reported as fresh.
                return Err(Error::data_loss(format!("{namespace}: its log ends before what was read")));
            }
            let checked = (page.end.cursor >= stored.cursor).then_some(now);
            feed.advance(page, checked)?;
            self.fit_rings(namespace);
            if feed.head().cursor > stored.cursor {
                break;
            }
        }
        Ok(())
    }
}

/// Returns whether the log still has the event that was read last.
async fn leads_on(tx: &ReadTx, namespace: &NamespaceId, read: Head) -> Result<bool> {
    if read.cursor.revision == 0 {
        return Ok(true);
    }
    let kept = tx.events_after(namespace, read.cursor.revision - 1, 1).await?;
    Ok(kept.first().is_some_and(|event| event.hash == read.hash))
}
