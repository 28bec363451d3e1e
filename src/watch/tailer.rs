//! The log follower: reads what was committed after each feed's head, by any replica.
//!
//! It is woken by commits of this replica, by NOTIFY for those of others, and by a timer that alone is sufficient. A poll takes one query
//! when nothing moved.

use std::collections::BTreeMap;
use std::time::Duration;

use super::feed::Feed;
use super::freshness::PollResult;
use super::hub::Hub;
use super::read::{active, read_on};
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;

/// How long one poll may follow one log. Longer: a namespace with much to read delays the others.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(12);

impl Hub {
    /// Follows the logs until it is dropped. A failed poll is logged, and retried at the next one: no feed skips an event.
    pub async fn tail(&self, poll_interval: Duration) {
        let mut poll = tokio::time::interval(poll_interval);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.woken() => {}
                _ = poll.tick() => {}
            }
            let Err(error) = self.poll_logs().await else { continue };
            if error.reason.is_of_the_database() {
                tracing::debug!(%error, detail = error.internal, "failed to read the heads of the logs");
            } else {
                tracing::error!(%error, detail = error.internal, "failed to read the logs");
            }
            for feed in self.feeds() {
                feed.record_poll(PollResult::Unanswered, self.now());
            }
        }
    }

    /// Lets every feed catch up with its log. A feed whose log does not verify stays where it is; the others continue.
    async fn poll_logs(&self) -> Result<()> {
        let feeds = self.feeds();
        let now = self.now();
        if feeds.is_empty() {
            return Ok(());
        }
        self.source().counts.polls.add();
        let namespaces: Vec<_> = feeds.iter().map(|feed| feed.namespace().clone()).collect();
        let store = &self.source().store;
        let heads: BTreeMap<_, _> = store.heads(&namespaces).await?.into_iter().collect();
        let is_raised = |feed: &Feed| {
            heads.get(feed.namespace()).is_some_and(|stored| stored.cursor.epoch > feed.head().cursor.epoch)
        };
        // With a raised epoch an operator accepts a loss: the suspicion may have ended just now.
        if store.suspected_loss().is_some() && feeds.iter().any(|feed| is_raised(feed)) {
            store.check_for_loss().await?;
        }
        for feed in feeds {
            let namespace = feed.namespace();
            if store.suspected_loss().is_some() && is_raised(&feed) {
                // Not every log is raised yet: until then, feeds continue with what was verified.
                feed.record_poll(PollResult::SuspectedLoss, now);
                continue;
            }
            if let Err(error) = self.check_thawed(namespace).await {
                // What was verified is still served, and nothing is reported as newer than at the freeze.
                feed.record_poll(
                    if error.reason == Reason::DataLoss { PollResult::Invalid } else { PollResult::Unanswered },
                    now,
                );
                continue;
            }
            // After a timeout what was read is kept: feeds advance page by page, and the next feed has its turn.
            let followed = tokio::time::timeout(FOLLOW_TIMEOUT, self.follow(&feed, heads.get(namespace).copied(), now));
            let result = match followed.await {
                // What follows is verified and sent; an operator must decide whether it is the newest.
                Ok(Ok(())) if store.suspected_loss().is_some() => PollResult::SuspectedLoss,
                Ok(Ok(())) => {
                    // It may have read beyond the head of this poll.
                    store.note_read(namespace, feed.head());
                    PollResult::CaughtUp
                }
                Err(_) => {
                    tracing::error!(%namespace, "failed to follow a log in time; going on with the others");
                    PollResult::Unanswered
                }
                Ok(Err(error)) => match error.reason {
                    // A log that lost its tail, or a namespace that is lost: the suspicion was logged when it arose.
                    Reason::DataLoss | Reason::NamespaceNotFound if store.detects_loss().await => {
                        PollResult::SuspectedLoss
                    }
                    Reason::NamespaceNotFound => {
                        tracing::warn!(%namespace, "a namespace is gone, as the raised epoch says; ending its watches");
                        self.end(&feed);
                        continue;
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
                },
            };
            feed.record_poll(result, now);
        }
        Ok(())
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
                break;
            }
            let page = read_on(&tx, &*self.source().proof, namespace, read).await?;
            if page.end == read {
                // The log was cut or rewritten: what was read before is still served, and no longer reported as fresh.
                return Err(Error::data_loss(format!("{namespace}: its log ends before what was read")));
            }
            let checked = (page.end.cursor >= stored.cursor).then_some(now);
            feed.advance(page, checked)?;
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
