//! One watch on the wire: pulled by its socket, so a reader that takes nothing costs nothing.
//!
//! No task and no queue of its own: what is not taken is not read.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream};
use tonic::Status;

use super::authority::Authority;
use super::connection::{Ending, OpenWatch};
use super::encode::framed;
use super::jitter::fraction;
use super::sync::WatchSettings;
use super::taken::is_given_up;
use crate::api::status::status;
use crate::api::{pb, response};
use crate::domain::defect::{Defect, planted};
use crate::domain::{Error, Result};
use crate::service::{Lease, Step, StreamPlace, Subscription};

/// A watch that was admitted: what its messages come from, and what bounds it.
pub(super) struct AdmittedWatch {
    pub(super) subscription: Subscription,
    /// Ends with the stream; none when it is anonymous.
    pub(super) lease: Option<Lease>,
    /// Counts it on its connection, which may tell it to end.
    pub(super) open: OpenWatch,
    pub(super) settings: WatchSettings,
    pub(super) authority: Authority,
    /// Counts it in the quotas.
    pub(super) _quota: StreamPlace,
}

struct WatchStream {
    watch: AdmittedWatch,
    /// What is to be sent before anything else.
    due: VecDeque<Bytes>,
    /// The last message was sent. What is held goes with the stream, not before that message is on the wire.
    ended: bool,
}

/// Returns the messages of a watch as they are written to the wire.
pub(super) fn messages(watch: AdmittedWatch) -> impl Stream<Item = Result<Bytes, Status>> + use<> {
    let opened = framed(&response::opened(watch.settings.heartbeat_interval));
    let stream = WatchStream { watch, due: VecDeque::from([opened]), ended: false };
    futures_util::stream::unfold(stream, |mut stream| async move {
        if stream.ended {
            return None;
        }
        let message = stream.next().await.map_err(|error| {
            stream.ended = true;
            status(error)
        });
        Some((message, stream))
    })
}

/// Waits until the id of a stream turns out to be another principal's: for ever, when it has none.
async fn refused(lease: Option<&Lease>) -> Error {
    match lease {
        Some(lease) => lease.refused().await,
        None => std::future::pending().await,
    }
}

impl WatchStream {
    async fn next(&mut self) -> Result<Bytes> {
        let AdmittedWatch { subscription, lease, open, settings, authority, .. } = &mut self.watch;
        let connection = open.connection();
        loop {
            if let Some(message) = self.due.pop_front() {
                return Ok(message);
            }
            if connection.ending().is_cancelled() {
                self.ended = true;
                let delay = settings.longest_delay(connection).mul_f64(fraction());
                let reason = match connection.why() {
                    Ending::Draining => pb::ReconnectReason::Draining,
                    Ending::Age => pb::ReconnectReason::Age,
                };
                return Ok(framed(&response::reconnect(reason, delay, subscription.resume_point())));
            }
            // Also of a stream that never waits.
            if let Some(error) = authority.lost().now_or_never() {
                return Err(error);
            }
            if planted(Defect::HeartbeatAhead) {
                self.due.extend(subscription.heartbeat()?);
            }
            match subscription.step().await? {
                Step::Messages(messages) => self.due.extend(messages),
                Step::Level => self.due.extend(subscription.heartbeat()?),
            }
            if !self.due.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                () = connection.ending().cancelled() => {}
                error = authority.lost() => return Err(error),
                error = refused(lease.as_ref()) => return Err(error),
                () = subscription.moved() => {}
            }
        }
    }
}

impl Drop for AdmittedWatch {
    fn drop(&mut self) {
        if is_given_up() {
            self.subscription.give_up();
        }
        if self.open.connection().ending().is_cancelled()
            && let Some(lease) = &mut self.lease
        {
            lease.hand_over();
        }
    }
}
