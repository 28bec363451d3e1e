//! One watch on the wire: pulled by its socket, so a reader that takes nothing costs nothing.
//!
//! No task and no queue of its own: what is not taken is not read. A stream of several namespaces takes from each that has something,
//! in turn.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream::{BoxStream, SelectAll, select_all, unfold};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
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
use crate::domain::defect::{Defect, planted};
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
}

/// Messages that belong together, or why no more come of this namespace.
type Told = Result<Vec<Bytes>, NotWatched>;

struct WatchStream {
    namespaces: SelectAll<BoxStream<'static, Told>>,
    /// Namespaces of which more may come.
    going_on: usize,
    /// What is to be sent before anything else.
    due: VecDeque<Bytes>,
    open: OpenWatch,
    settings: WatchSettings,
    /// The last message was sent. What is held goes with the stream, not before that message is on the wire.
    ended: bool,
}

/// Returns the messages of a watch as they are written to the wire.
pub(super) fn messages(watch: AdmittedWatch) -> impl Stream<Item = Result<Bytes, Status>> + use<> {
    let AdmittedWatch { namespaces, not_watched, open, settings } = watch;
    let opened = framed(&response::opened(settings.heartbeat_interval));
    let ended = not_watched.iter().map(|(parent, status)| framed(&response::watch_ended(parent, status)));
    let due = std::iter::once(opened).chain(ended).collect();
    let going_on = namespaces.len();
    let namespaces = select_all(namespaces.into_iter().map(|namespace| namespace.told().boxed()));
    let stream = WatchStream { namespaces, going_on, due, open, settings, ended: false };
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
                Some(Err((parent, status))) => {
                    self.going_on -= 1;
                    if self.going_on == 0 {
                        return Err(status);
                    }
                    self.due.push_back(framed(&response::watch_ended(&parent, &status)));
                }
                None => return Err(Status::ok("")),
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
                Err(error) => Some((Err((watch.parent.clone(), status(error))), None)),
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
                Step::Level => subscription.heartbeat()?,
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
