//! One watch on the wire: pulled by its socket, so a reader that takes nothing costs nothing.
//!
//! No task and no queue of its own: what is not taken is not read.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Interval;
use tonic::Status;

use super::connection::OpenWatch;
use super::encode::framed;
use super::sync::WatchSettings;
use super::taken::is_given_up;
use crate::api::response;
use crate::api::status::status;
use crate::domain::Result;
use crate::service::{Lease, Step, Subscription};

/// Longest wait that a server asks of a subscriber. They wait different times, so that they do not all come to
/// the next replica at once.
const RECONNECT_SPREAD: Duration = Duration::from_secs(5);

struct Watch {
    subscription: Subscription,
    /// Ends with the stream; none when it is anonymous.
    _lease: Option<Lease>,
    heartbeat: Interval,
    /// Its place on its connection, which may tell it to end.
    open: OpenWatch,
    ended: bool,
}

/// The messages of a subscription, written.
pub(super) fn open(
    settings: &WatchSettings,
    open: OpenWatch,
    subscription: Subscription,
    lease: Option<Lease>,
) -> impl Stream<Item = Result<Bytes, Status>> + use<> {
    // The first tick is at once: a stream that resumes at the head says so right away.
    let mut heartbeat = tokio::time::interval(settings.heartbeat_interval);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    if subscription.cursor().is_none() {
        // A snapshot brings its checkpoint; from there on streams that were opened together beat apart.
        heartbeat.reset_after(jitter(settings.heartbeat_interval));
    }
    let watch = Watch { subscription, _lease: lease, heartbeat, open, ended: false };
    futures_util::stream::unfold(watch, |mut watch| async move {
        if watch.ended {
            return None;
        }
        let message = watch.next().await.map_err(|error| {
            watch.ended = true;
            status(error)
        });
        Some((message, watch))
    })
}

impl Watch {
    async fn next(&mut self) -> Result<Bytes> {
        loop {
            if self.open.connection().ending().is_cancelled() {
                self.ended = true;
                let why = self.open.connection().why().as_str();
                let resume = self.subscription.cursor();
                return Ok(framed(&response::reconnect(why, jitter(RECONNECT_SPREAD), resume)));
            }
            if let Step::Message(message) = self.subscription.step().await? {
                return Ok(message);
            }
            let due = tokio::select! {
                () = self.open.connection().ending().cancelled() => false,
                () = self.subscription.moved() => false,
                _ = self.heartbeat.tick() => true,
            };
            if !due {
                continue;
            }
            match self.subscription.heartbeat()? {
                Some(heartbeat) => return Ok(heartbeat),
                // The head moved on meanwhile: what is new goes first.
                None => self.heartbeat.reset_immediately(),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if is_given_up() {
            self.subscription.give_up();
        }
    }
}

/// Any time below `spread`.
fn jitter(spread: Duration) -> Duration {
    // Each RandomState has keys of its own: enough of a die for a jitter.
    let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(RandomState::new().hash_one(0_u8) % spread_ms)
}
