//! One watch on the wire: pulled by its socket, so a reader that takes nothing costs nothing.
//!
//! No task and no queue of its own: what is not taken is not read. A stream of several namespaces takes from each that has something,
//! in turn.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::{BoxStream, SelectAll, select_all, unfold};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::authority::Authority;
use super::connection::{Connection, Ending, OpenWatch};
use super::encode::framed;
use super::jitter::fraction;
use super::sync::WatchSettings;
use super::taken::is_given_up;
use super::watch_open::NotWatched;
use crate::api::status::status;
use crate::api::{pb, response};
use crate::defect::{Defect, planted};
use crate::domain::{Error, Result};
use crate::service::{Lease, Step, StreamPlace, Subscription};

/// A watch that was admitted: what its messages come from, and what bounds it.
pub(super) struct AdmittedWatch {
    pub(super) namespaces: Vec<NamespaceWatch>,
    /// Those that can't be watched, and why.
    pub(super) not_watched: Vec<NotWatched>,
    /// Counts it on its connection, which may tell it to end.
    pub(super) open: OpenWatch,
    pub(super) settings: WatchSettings,
}

/// The watch of one namespace.
pub(super) struct NamespaceWatch {
    /// Its name.
    pub(super) parent: String,
    pub(super) subscription: Subscription,
    /// Ends with the watch; none when it is anonymous.
    pub(super) lease: Option<Lease>,
    pub(super) authority: Authority,
    pub(super) connection: Connection,
    /// Counts it in the quotas.
    pub(super) _quota: StreamPlace,
    /// Counts it among the namespaces that this server watches.
    pub(super) _slot: OwnedSemaphorePermit,
}

/// Messages that belong together, or why no more come of this namespace.
type Told = Result<Vec<Bytes>, NotWatched>;

struct WatchStream {
    namespaces: SelectAll<BoxStream<'static, Told>>,
    /// Namespaces of which more may come.
    open_namespaces: usize,
    /// What is to be sent before anything else.
    due: VecDeque<Bytes>,
    open: OpenWatch,
    settings: WatchSettings,
    /// Why the last namespace can't be watched, when nothing else is to be told.
    refused: Option<Error>,
    /// The last message was returned.
    ended: bool,
}

/// Returns the messages of a watch as they are written to the wire.
pub(super) fn messages(watch: AdmittedWatch) -> impl Stream<Item = Result<Bytes, Status>> + use<> {
    let AdmittedWatch { namespaces, mut not_watched, open, settings } = watch;
    let refused = not_watched.pop_if(|_| namespaces.is_empty()).map(|(_, error)| error);
    let opened = framed(&response::opened(settings.heartbeat_interval));
    let ended = not_watched.into_iter().map(|(parent, error)| framed(&response::watch_ended(parent, error)));
    let due = std::iter::once(opened).chain(ended).collect();
    let open_namespaces = namespaces.len();
    let namespaces = select_all(namespaces.into_iter().map(|namespace| namespace.told().boxed()));
    let stream = WatchStream { namespaces, open_namespaces, due, open, settings, refused, ended: false };
    unfold(stream, |mut stream| async move {
        if stream.ended {
            return None;
        }
        let message = stream.next().await;
        stream.ended |= message.is_err();
        Some((message, stream))
    })
}

impl WatchStream {
    async fn next(&mut self) -> Result<Bytes, Status> {
        let connection = self.open.connection();
        loop {
            if let Some(message) = self.due.pop_front() {
                return Ok(message);
            }
            if let Some(error) = self.refused.take() {
                return Err(status(error));
            }
            if connection.ending().is_cancelled() {
                self.ended = true;
                let delay = self.settings.longest_delay(connection).mul_f64(fraction());
                let reason = match connection.why() {
                    Ending::Draining => pb::ReconnectReason::Draining,
                    Ending::Age => pb::ReconnectReason::Age,
                };
                return Ok(framed(&response::reconnect(reason, delay)));
            }
            let told = tokio::select! {
                biased;
                () = connection.ending().cancelled() => continue,
                told = self.namespaces.next() => told,
            };
            match told {
                Some(Ok(messages)) => self.due.extend(messages),
                Some(Err((parent, error))) => {
                    self.open_namespaces -= 1;
                    if self.open_namespaces == 0 {
                        return Err(status(error));
                    }
                    self.due.push_back(framed(&response::watch_ended(parent, error)));
                }
                None => return Err(status(Error::internal("a watch went on without a namespace"))),
            }
        }
    }
}

/// Waits until the id of a stream turns out to be another principal's: for ever, when it has none.
async fn refused(lease: Option<&Lease>) -> Error {
    match lease {
        Some(lease) => lease.refused().await,
        None => std::future::pending().await,
    }
}

impl NamespaceWatch {
    /// Returns what is told of the namespace, to its end.
    fn told(self) -> impl Stream<Item = Told> + use<> {
        unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            match watch.next().await {
                Ok(messages) => Some((Ok(messages), Some(watch))),
                Err(error) => Some((Err((watch.parent.clone(), error)), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Vec<Bytes>> {
        let Self { subscription, lease, authority, .. } = self;
        loop {
            // Also of a stream that never waits.
            if let Some(error) = authority.lost().now_or_never() {
                return Err(error);
            }
            if planted(Defect::HeartbeatAhead) {
                let ahead = subscription.heartbeat()?;
                if !ahead.is_empty() {
                    return Ok(ahead);
                }
            }
            let messages = match subscription.step().await? {
                Step::Messages(messages) => messages,
                Step::CaughtUp => subscription.heartbeat()?,
            };
            if !messages.is_empty() {
                return Ok(messages);
            }
            tokio::select! {
                biased;
                error = authority.lost() => return Err(error),
                error = refused(lease.as_ref()) => return Err(error),
                () = subscription.moved() => {}
            }
        }
    }
}

impl Drop for NamespaceWatch {
    fn drop(&mut self) {
        if is_given_up() {
            self.subscription.give_up();
        }
        if self.connection.ending().is_cancelled()
            && let Some(lease) = &mut self.lease
        {
            lease.hand_over();
        }
    }
}
