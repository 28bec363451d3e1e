//! The tailer: reads what was committed after each feed's head, whoever committed it.
//!
//! Woken by commits of this replica, and by a poll that alone is enough. One query per look when nothing moved.

use std::sync::Arc;
use std::time::Duration;

use super::feed::Feed;
use super::frames::read_on;
use super::hub::Hub;
use crate::domain::Result;
use crate::domain::event::Head;

/// Events read at once. A feed that is further behind reads on in the next round.
const READ_MAX_EVENTS: u32 = 64;

/// How long one look may take. A database that stopped, or a connection that was silently dropped, answers nothing for
/// ever: longer, and watches are told later that it is back.
const LOOK_TIMEOUT: Duration = Duration::from_secs(12);

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
            // What was read before it gave up stays read: feeds advance page by page.
            match tokio::time::timeout(LOOK_TIMEOUT, self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, detail = error.internal, "failed to read the log"),
                Err(_) => tracing::error!("the database did not answer in time; reading the log again"),
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
        let namespaces: Vec<_> = feeds.iter().map(|feed| feed.namespace().clone()).collect();
        let heads = self.store().heads(&namespaces).await?;
        for (namespace, head) in heads {
            let Some(feed) = feeds.iter().find(|feed| feed.namespace() == &namespace) else { continue };
            let read = feed.head();
            if head.cursor < read.cursor || (head.cursor == read.cursor && head.hash != read.hash) {
                // Somebody cut or rewrote the log. What was read before still stands, and is no longer called fresh.
                tracing::error!(%namespace, stored = head.cursor.revision, read = read.cursor.revision, "a log lost its end");
                continue;
            }
            if let Err(error) = self.catch_up(feed, head).await {
                tracing::error!(%namespace, %error, detail = error.internal, "failed to follow a log");
            }
            feed.check(head, now);
        }
        Ok(())
    }

    async fn catch_up(&self, feed: &Arc<Feed>, stored: Head) -> Result<()> {
        while feed.head().cursor < stored.cursor {
            let tx = self.store().read().await?;
            let before = feed.head();
            let (activations, head) = read_on(&tx, self.verify(), feed.namespace(), before, READ_MAX_EVENTS).await?;
            if head == before {
                break;
            }
            feed.advance(activations, head);
        }
        Ok(())
    }
}
