//! A long-reading stream: the resources it holds, and the conditions that end it.
//!
//! Messages are built one at a time, when the connection has capacity. The stream holds its slot, and a view of the database, until its
//! last message. It ends earlier when its reader stalls, at the caller's deadline, at the time limit of its method, or when the server
//! drains.
//!
//! Unlike the caller of a watch, its caller is authorized once: the stream ends within an hour, and reads nothing newer than its start.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use prost::Message;
use tokio::time::{sleep, sleep_until};
use tonic::body::Body;
use tonic::{Request, Status};

use crate::api::status::status;
use crate::domain::{Error, Reason, Result};
use crate::grpc::frame_message::frame_message;
use crate::grpc::middleware::{CallDeadline, ReadStreamSlot, Reserved};
use crate::transport::{ConnectionHandle, MessageBody, ShutdownReason, StreamDeadline, StreamProgress};

/// The resources of a request's stream, and the conditions that end it.
pub(super) struct ReadStream {
    pub(super) slot: ReadStreamSlot,
    pub(super) connection: ConnectionHandle,
    deadline: StreamDeadline,
    progress: StreamProgress,
}

impl ReadStream {
    /// Opens the stream of a request, for at most `limit`.
    ///
    /// # Errors
    /// `INTERNAL` for a request that has no slot.
    pub(super) fn open<T>(request: &Request<T>, limit: Duration) -> Result<Self, Status> {
        let slot = request.extensions().get::<ReadStreamSlot>().cloned();
        // The layer of answers inserted it. A call without it bypassed that layer and is refused.
        let slot = slot.ok_or_else(|| status(Error::internal("a stream without its slot")))?;
        let bound = sleep(limit);
        let given = request.extensions().get::<CallDeadline>().filter(|CallDeadline(given)| *given < bound.deadline());
        let (time, error) = match given {
            Some(CallDeadline(given)) => {
                let message = "the caller's deadline passed before the stream had ended";
                (sleep_until(*given), Error::new(Reason::DeadlineExceeded, message))
            }
            None => {
                let seconds = limit.as_secs();
                let message =
                    format!("a stream of this method may take {seconds} s: read faster, or over a faster link");
                (bound, Error::new(Reason::RequestTimeout, message).with("limit_seconds", seconds))
            }
        };
        let deadline = StreamDeadline { time: Box::pin(time), status: status(error) };
        let progress = StreamProgress::of(request.extensions());
        Ok(Self { slot, connection: ConnectionHandle::of_request(request), deadline, progress })
    }

    /// Returns the body of the response, which ends at the deadline.
    pub(super) fn into_body(self, messages: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Body {
        // Otherwise a reader that has no capacity for the first message would never count as stalled.
        self.progress.expect_reader();
        Body::new(MessageBody::new(messages.map(|message| message.map_err(status)), Some(self.deadline)))
    }
}

/// Waits for the next message of a stream. When the server drains, the stream ends at once, because the shutdown waits for it.
///
/// # Errors
/// The errors of `next`, and `SERVER_DRAINING`.
pub(super) async fn next_unless_draining<T>(
    connection: &ConnectionHandle,
    next: impl Future<Output = Result<T>>,
) -> Result<T> {
    let draining = async {
        connection.shutdown().cancelled().await;
        // At the age limit of its connection the stream gets some more time, as other calls do.
        if connection.shutdown_reason() != ShutdownReason::Draining {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        () = draining => Err(Error::new(Reason::ServerDraining, "this server is shutting down: try again")),
        next = next => next,
    }
}

/// A message and its reserved memory. It is dropped once its last byte is on the wire, or its stream has ended.
struct ReservedMessage {
    bytes: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for ReservedMessage {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Encodes a message, and keeps as much memory reserved as it takes until it is on the wire.
///
/// # Errors
/// `REQUEST_BUDGET_EXHAUSTED` when it takes more than was reserved, and no more memory is free.
pub(super) fn encode_reserved(message: &impl Message, mut reserved: Reserved) -> Result<Bytes> {
    let bytes = frame_message(message);
    reserved.resize(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    Ok(Bytes::from_owner(ReservedMessage { bytes, _reserved: reserved }))
}
