//! One watch on the wire: pulled by its socket, so a reader that takes nothing costs nothing.
//!
//! No task and no queue of its own: what is not taken is not read.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::handler::Handler;
use super::sync::WatchSettings;
use crate::api::pb::watch_active_response::Message;
use crate::api::status::status;
use crate::api::{pb, response};
use crate::domain::Result;
use crate::service::{Step, Subscription};

/// Longest wait that a draining server asks of a subscriber. They wait different times, so that they do not all come to
/// the next replica at once.
const RECONNECT_SPREAD_MS: u64 = 5_000;

struct Watch {
    handler: Handler,
    subscription: Subscription,
    metadata_only: bool,
    /// Parts of a snapshot not yet taken.
    parts: VecDeque<pb::WatchActiveResponse>,
    heartbeat: Interval,
    draining: CancellationToken,
    ended: bool,
}

/// The stream of a subscription.
pub(super) fn open(
    handler: &Handler,
    settings: &WatchSettings,
    subscription: Subscription,
    metadata_only: bool,
) -> impl Stream<Item = Result<pb::WatchActiveResponse, Status>> + use<> {
    // The first tick is at once: a stream that resumes at the head says so right away.
    let mut heartbeat = tokio::time::interval(settings.heartbeat_interval);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let watch = Watch {
        handler: handler.clone(),
        subscription,
        metadata_only,
        parts: VecDeque::new(),
        heartbeat,
        draining: settings.draining.clone(),
        ended: false,
    };
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
    async fn next(&mut self) -> Result<pb::WatchActiveResponse> {
        loop {
            if self.draining.is_cancelled() {
                self.ended = true;
                return Ok(reconnect());
            }
            if let Some(part) = self.parts.pop_front() {
                return Ok(part);
            }
            match self.subscription.step().await? {
                Step::Snapshot { set, whole } => {
                    let digest = self.handler.service.active_set_digest(&whole);
                    self.parts = response::snapshot(&set, &digest, self.metadata_only).into();
                }
                Step::Activation(activation) => {
                    let namespace = self.subscription.feed().namespace();
                    return Ok(response::activation(namespace, &activation, self.metadata_only));
                }
                Step::Level => {
                    let due = tokio::select! {
                        () = self.draining.cancelled() => false,
                        () = self.subscription.moved() => false,
                        _ = self.heartbeat.tick() => true,
                    };
                    if due && let Some(heartbeat) = self.heartbeat()? {
                        return Ok(heartbeat);
                    }
                }
            }
        }
    }

    /// Made from this stream's own cursor; none when the head moved on meanwhile.
    fn heartbeat(&mut self) -> Result<Option<pb::WatchActiveResponse>> {
        let feed = self.subscription.feed();
        let Some(cursor) = self.subscription.cursor() else { return Ok(None) };
        let heartbeat = if cursor > feed.head().cursor {
            // It resumed ahead of what this replica has read: alive, and nothing to say yet.
            pb::Heartbeat::default()
        } else {
            let Some(checkpoint) = self.handler.service.checkpoint(feed, cursor)? else {
                self.heartbeat.reset_immediately();
                return Ok(None);
            };
            pb::Heartbeat { cursor: Some(response::cursor(cursor)), checkpoint: checkpoint.to_string(), degraded: false }
        };
        Ok(Some(pb::WatchActiveResponse { message: Some(Message::Heartbeat(heartbeat)) }))
    }
}

fn reconnect() -> pb::WatchActiveResponse {
    // Each RandomState has keys of its own: enough of a die for a jitter.
    let jitter = RandomState::new().hash_one(0_u8) % RECONNECT_SPREAD_MS;
    let backoff = prost_types::Duration::try_from(Duration::from_millis(jitter)).ok();
    let reconnect = pb::Reconnect { reason: "draining".to_owned(), backoff, cursor: None };
    pb::WatchActiveResponse { message: Some(Message::Reconnect(reconnect)) }
}
