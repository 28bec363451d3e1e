//! The messages of one watch. The response body polls for them, so a reader that reads nothing costs nothing.
//!
//! A watch has no task and no queue: the next message is built when there is capacity for it. A stream of several namespaces takes
//! messages from each in turn.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::future::Either;
use futures_util::stream::{BoxStream, SelectAll, select_all, unfold};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::authority::WatchAuthorization;
use super::settings::WatchSettings;
use crate::api::status::status;
use crate::api::{pb, response};
use crate::domain::{Error, Result};
use crate::grpc::frame_message::frame_message;
use crate::service::{Lease, StreamPermit, Subscription, WatchStep};
use crate::transport::{ConnectionHandle, OpenWatch, ShutdownReason, StreamProgress};

/// A namespace in the request that is not watched, with the reason.
pub(super) type NotWatched = (String, Error);

/// A watch that was admitted.
pub(super) struct AdmittedWatch {
    pub(super) namespaces: Vec<NamespaceWatch>,
    /// The namespaces that can't be watched, with the reasons.
    pub(super) not_watched: Vec<NotWatched>,
    /// Counts the watch on its connection, which may signal it to end.
    pub(super) open: OpenWatch,
    /// How many heartbeat intervals of the server are one of this stream.
    pub(super) heartbeat_multiple: u32,
    pub(super) settings: WatchSettings,
}

/// The watch of one namespace.
pub(super) struct NamespaceWatch {
    /// The name of the namespace.
    pub(super) parent: String,
    pub(super) subscription: Subscription,
    /// The lease of the subscriber, dropped with the watch; none for an anonymous one.
    pub(super) lease: Option<Lease>,
    pub(super) authorization: WatchAuthorization,
    pub(super) connection: ConnectionHandle,
    pub(super) progress: StreamProgress,
    /// Counts it in the quotas.
    pub(super) _quota: StreamPermit,
    /// Counts it among the namespaces that this server watches.
    pub(super) _slot: OwnedSemaphorePermit,
}

/// Messages that belong together, or why the watch of this namespace ends.
type NamespaceMessages = Result<Vec<Bytes>, NotWatched>;

/// The messages of the namespaces of a stream. One alone is not put into a `SelectAll`, which would cost an allocation and a queue for
/// nothing.
type NamespaceStreams = Either<BoxStream<'static, NamespaceMessages>, SelectAll<BoxStream<'static, NamespaceMessages>>>;

struct WatchStream {
    namespaces: NamespaceStreams,
    /// Number of namespaces that are still watched.
    open_namespaces: usize,
    /// Messages that are sent first.
    pending: VecDeque<Bytes>,
    open: OpenWatch,
    settings: WatchSettings,
    /// The status of the stream when none of its namespaces can be watched.
    refused: Option<Error>,
    /// Whether the last message or the status was returned.
    has_ended: bool,
}

/// Returns the encoded messages of a watch.
pub(super) fn messages(watch: AdmittedWatch) -> impl Stream<Item = Result<Bytes, Status>> + use<> {
    let AdmittedWatch { namespaces, mut not_watched, open, heartbeat_multiple, settings } = watch;
    let refused = not_watched.pop_if(|_| namespaces.is_empty()).map(|(_, error)| error);
    let opened = frame_message(&response::opened(settings.heartbeat_interval_of(heartbeat_multiple)));
    let ended = not_watched.into_iter().map(|(parent, error)| frame_message(&response::watch_ended(parent, error)));
    let pending = std::iter::once(opened).chain(ended).collect();
    let open_namespaces = namespaces.len();
    let each: Vec<_> = namespaces.into_iter().map(|namespace| namespace.into_messages().boxed()).collect();
    let namespaces = match <[_; 1]>::try_from(each) {
        Ok([only]) => Either::Left(only),
        Err(each) => Either::Right(select_all(each)),
    };
    let stream = WatchStream { namespaces, open_namespaces, pending, open, settings, refused, has_ended: false };
    // Boxed: `unfold` moves its state into and out of a future for every message.
    unfold(Box::new(stream), |mut stream| async move {
        if stream.has_ended {
            return None;
        }
        let message = stream.next().await;
        stream.has_ended |= message.is_err();
        Some((message, stream))
    })
}

impl WatchStream {
    async fn next(&mut self) -> Result<Bytes, Status> {
        let connection = self.open.connection();
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Ok(message);
            }
            if let Some(error) = self.refused.take() {
                return Err(status(error));
            }
            if connection.shutdown().is_cancelled() {
                self.has_ended = true;
                let delay = self.settings.longest_delay(connection).mul_f64(fastrand::f64());
                let reason = match connection.shutdown_reason() {
                    ShutdownReason::Draining => pb::ReconnectReason::Draining,
                    ShutdownReason::Age => pb::ReconnectReason::Age,
                };
                return Ok(frame_message(&response::reconnect(reason, delay)));
            }
            let next = tokio::select! {
                biased;
                () = connection.shutdown().cancelled() => continue,
                next = self.namespaces.next() => next,
            };
            match next {
                Some(Ok(messages)) => self.pending.extend(messages),
                Some(Err((parent, error))) => {
                    self.open_namespaces -= 1;
                    if self.open_namespaces == 0 {
                        return Err(status(error));
                    }
                    self.pending.push_back(frame_message(&response::watch_ended(parent, error)));
                }
                None => return Err(status(Error::internal("a watch has no namespace left"))),
            }
        }
    }
}

/// Waits until the subscriber id of a watch turns out to belong to another principal. Waits forever without an id.
async fn lease_refused(lease: Option<&Lease>) -> Error {
    match lease {
        Some(lease) => lease.refused().await,
        None => std::future::pending().await,
    }
}

impl NamespaceWatch {
    /// Returns the messages of the namespace, and at the end the reason why it is no longer watched.
    fn into_messages(self) -> impl Stream<Item = NamespaceMessages> + use<> {
        // Boxed: `unfold` moves its state into and out of a future for every message; unboxed, that copies the whole watch.
        unfold(Some(Box::new(self)), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(messages) => Some((Ok(messages), Some(watch))),
                Err(error) => Some((Err((watch.parent.clone(), error)), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Vec<Bytes>> {
        let Self { subscription, lease, authorization, .. } = self;
        loop {
            // Also check here, because a watch that always has a message never gets to the select below.
            if let Some(error) = authorization.revoked().now_or_never() {
                return Err(error);
            }
            let messages = match subscription.step().await? {
                WatchStep::Messages(messages) => messages,
                WatchStep::CaughtUp => subscription.heartbeat()?,
            };
            if !messages.is_empty() {
                return Ok(messages);
            }
            tokio::select! {
                biased;
                error = authorization.revoked() => return Err(error),
                error = lease_refused(lease.as_ref()) => return Err(error),
                () = subscription.moved() => {}
            }
        }
    }
}

impl Drop for NamespaceWatch {
    fn drop(&mut self) {
        if self.progress.is_stalled() {
            self.subscription.give_up();
        }
        if self.connection.shutdown().is_cancelled()
            && let Some(lease) = &mut self.lease
        {
            lease.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state of one watch. A future that is awaited and not boxed is in it, even if no stream ever needs it.
    const WATCH_STATE_MAX_BYTES: usize = 2 * 1024;

    /// Takes the function for the type of its future only.
    fn output_bytes<A, R>(_: fn(A) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn a_watch_holds_little_memory() {
        let bytes = size_of::<NamespaceWatch>() + output_bytes(NamespaceWatch::into_messages);
        assert!(bytes <= WATCH_STATE_MAX_BYTES, "{bytes} bytes");
    }
}
