//! One watch on the wire: pulled by its socket, so a reader that takes nothing costs nothing.
//!
//! No task and no queue of its own: what is not taken is not read.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tonic::Status;

use super::authority::Authority;
use super::connection::OpenWatch;
use super::encode::framed;
use super::jitter::fraction;
use super::taken::is_given_up;
use crate::api::response;
use crate::api::status::status;
use crate::domain::Result;
use crate::domain::defect::{Defect, planted};
use crate::service::{Lease, Step, StreamPlace, Subscription};

/// Longest wait that a server asks of a subscriber. They wait different times, so that they do not all come to
/// the next replica at once.
const RECONNECT_SPREAD: Duration = Duration::from_secs(5);

struct Watch {
    subscription: Subscription,
    /// Ends with the stream; none when it is anonymous.
    lease: Option<Lease>,
    /// Its place on its connection, which may tell it to end.
    open: OpenWatch,
    authority: Authority,
    /// Its place in the quotas.
    _place: StreamPlace,
    ended: bool,
    /// Messages that were taken, heartbeats not counted: for [`Defect::FrozenStream`] alone.
    taken: u64,
}

/// Messages after which a planted defect freezes a stream.
const FROZEN_AFTER: u64 = 10;

/// The messages of a subscription, written.
pub(super) fn open(
    open: OpenWatch,
    (authority, place): (Authority, StreamPlace),
    subscription: Subscription,
    lease: Option<Lease>,
) -> impl Stream<Item = Result<Bytes, Status>> + use<> {
    let watch = Watch { subscription, lease, open, authority, _place: place, ended: false, taken: 0 };
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
                let resume = self.subscription.resume_point();
                return Ok(framed(&response::reconnect(why, RECONNECT_SPREAD.mul_f64(fraction()), resume)));
            }
            if planted(Defect::FrozenStream) && self.taken == FROZEN_AFTER {
                tracing::warn!("a planted defect froze a stream");
                self.open.connection().ending().cancelled().await;
                continue;
            }
            if planted(Defect::HeartbeatAhead)
                && let Some(heartbeat) = self.subscription.heartbeat()?
            {
                return Ok(heartbeat);
            }
            if let Step::Message(message) = self.subscription.step().await? {
                self.taken += 1;
                return Ok(message);
            }
            if let Some(heartbeat) = self.subscription.heartbeat()? {
                return Ok(heartbeat);
            }
            tokio::select! {
                biased;
                () = self.open.connection().ending().cancelled() => {}
                () = self.authority.due() => self.authority.check().await?,
                () = self.subscription.moved() => {}
            }
        }
    }
}

impl Drop for Watch {
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
