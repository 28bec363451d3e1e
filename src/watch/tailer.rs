//! The tailer: reads what was committed after each feed's head, whoever committed it.
//!
//! Woken by commits of this replica, by those of others where the database tells of them, and by a poll that alone is
//! enough. One query per look when nothing moved.

use std::collections::BTreeMap;
use std::time::Duration;

use super::feed::Feed;
use super::freshness::Look;
use super::hub::Hub;
use super::read::{active, read_on};
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;

/// How long following one log may take at a look. Longer: one namespace with much to read keeps the others waiting.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(12);

impl Hub {
    /// Tails until it is dropped. A failed look is logged and tried again at the next poll: no feed skips an event.
    pub async fn tail(&self, poll_interval: Duration) {
        let mut poll = tokio::time::interval(poll_interval);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.woken() => {}
                _ = poll.tick() => {}
            }
            let Err(error) = self.look().await else { continue };
            if error.reason.is_of_the_database() {
                tracing::debug!(%error, detail = error.internal, "no answer to a look at the logs");
            } else {
                tracing::error!(%error, detail = error.internal, "failed to read the logs");
            }
            for feed in self.feeds() {
                feed.looked(Look::Unanswered, self.now());
            }
        }
    }

    /// Brings every feed level with its log. A feed whose log does not verify stays where it is; the others go on.
    async fn look(&self) -> Result<()> {
        let feeds = self.feeds();
        let now = self.now();
        if feeds.is_empty() {
            return Ok(());
        }
        self.source().counts.looks.add();
        let namespaces: Vec<_> = feeds.iter().map(|feed| feed.namespace().clone()).collect();
        let store = &self.source().store;
        let heads: BTreeMap<_, _> = store.heads(&namespaces).await?.into_iter().collect();
        let is_raised = |feed: &Feed| {
            heads.get(feed.namespace()).is_some_and(|stored| stored.cursor.epoch > feed.head().cursor.epoch)
        };
        // A raised epoch is what an operator says about a doubt: it may have ended just now.
        if store.doubt().is_some() && feeds.iter().any(|feed| is_raised(feed)) {
            store.examine().await?;
        }
        for feed in feeds {
            let namespace = feed.namespace();
            if store.doubt().is_some() && is_raised(&feed) {
                // Not every log is raised yet: what was verified goes on until then.
                feed.looked(Look::InDoubt, now);
                continue;
            }
            if let Err(error) = self.check_thawed(namespace).await {
                // What was verified goes on, and nothing is called newer than it was when it was frozen.
                feed.looked(if error.reason == Reason::DataLoss { Look::Broken } else { Look::Unanswered }, now);
                continue;
            }
            // What was read before it gave up stays read: feeds advance page by page, and the next one has its turn.
            let followed = tokio::time::timeout(FOLLOW_TIMEOUT, self.follow(&feed, heads.get(namespace).copied(), now));
            let look = match followed.await {
                // What follows is verified and told; whether it is the newest, an operator has to say.
                Ok(Ok(())) if store.doubt().is_some() => Look::InDoubt,
                Ok(Ok(())) => {
                    // It may have read beyond the head that was looked at.
                    store.note_read(namespace, feed.head());
                    Look::Level
                }
                Err(_) => {
                    tracing::error!(%namespace, "failed to follow a log in time; going on with the others");
                    Look::Unanswered
                }
                Ok(Err(error)) => match error.reason {
                    // A log that lost its end, or a namespace that is lost: the doubt was logged when it was found.
                    Reason::DataLoss | Reason::NamespaceNotFound if store.is_found_in_doubt().await => Look::InDoubt,
                    Reason::NamespaceNotFound => {
                        tracing::warn!(%namespace, "a namespace is gone, as the raised epoch says; ending its watches");
                        self.end(&feed);
                        continue;
                    }
                    Reason::DataLoss => {
                        tracing::error!(%namespace, %error, detail = error.internal, "failed to follow a log");
                        Look::Broken
                    }
                    // Whoever noticed the outage has said so, and its streams go on.
                    reason if reason.is_of_the_database() => {
                        tracing::debug!(%namespace, %error, detail = error.internal, "no answer to a look at a log");
                        Look::Unanswered
                    }
                    _ => {
                        tracing::error!(%namespace, %error, detail = error.internal, "failed to follow a log");
                        Look::Unanswered
                    }
                },
            };
            feed.looked(look, now);
        }
        Ok(())
    }

    /// Reads on until the feed is at the stored head.
    async fn follow(&self, feed: &Feed, stored: Option<Head>, now: Micros) -> Result<()> {
        let namespace = feed.namespace();
        let Some(stored) = stored else { return Err(self.why_missing(namespace).await) };
        while feed.head() != stored {
            let read = feed.head();
            let tx = self.source().store.read().await?;
            if stored.cursor.epoch > read.cursor.epoch && !leads_on(&tx, namespace, read).await? {
                // What was read beyond the bump is lost, as the sealed event at the head says.
                tracing::warn!(%namespace, read = ?read.cursor, stored = ?stored.cursor, "a log goes on in a new epoch");
                feed.reset(stored, active(&tx, &*self.source().proof, namespace, stored).await?, now);
                break;
            }
            let page = read_on(&tx, &*self.source().proof, namespace, read).await?;
            if page.end == read {
                // Cut or rewritten: what was read before still stands, and is no longer called fresh.
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

/// Whether the log still has the event that was read last.
async fn leads_on(tx: &ReadTx, namespace: &NamespaceId, read: Head) -> Result<bool> {
    if read.cursor.revision == 0 {
        return Ok(true);
    }
    let kept = tx.events_after(namespace, read.cursor.revision - 1, 1).await?;
    Ok(kept.first().is_some_and(|event| event.hash == read.hash))
}
