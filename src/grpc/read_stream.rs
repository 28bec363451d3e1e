//! Streams that read for long, VerifyLog and ExportRows: what each holds, and what ends it.
//!
//! Pulled by its socket: a message is made when there is room for it, one at a time. It holds its turn, and a view of the database,
//! until its last message; and no longer than somebody takes it (`super::taken`), than the caller's deadline, than the bound of its
//! method, or than the server serves.
//!
//! Unlike the caller of a watch, its caller is authorized once: it ends within an hour, and reads nothing that was not there then.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Empty, empty};
use futures_util::{Stream, StreamExt as _};
use prost::Message;
use tokio::time::{sleep, sleep_until};
use tonic::{Request, Response, Status};

use super::connection::{Connection, Ending};
use super::deadline::CallDeadline;
use super::encode::framed;
use super::frames::{self, Until};
use super::in_flight::{InFlight, Reserved};
use super::taken;
use crate::api::status::status;
use crate::domain::{Error, Reason, Result};
use crate::service::FairSlot;

/// What tonic is answered: nothing, since the messages travel in the body that is left with the response.
pub(super) type EmptyStream<M> = Empty<Result<M, Status>>;

/// The turn of a stream, and the budget that its messages are counted in. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct StreamTurn {
    _slot: Arc<FairSlot>,
    in_flight: InFlight,
    caller: String,
}

impl StreamTurn {
    /// A turn of a caller.
    pub(super) fn new(slot: FairSlot, in_flight: InFlight, caller: String) -> Self {
        // A share of its own: whoever takes a stream reads pages beside it, and would wait for the memory of the message that comes next.
        Self { _slot: Arc::new(slot), in_flight, caller: format!("streams of {caller}") }
    }

    /// Reserves memory for a message of so many bytes at most, and waits for it.
    ///
    /// # Errors
    /// `REQUEST_BUDGET_EXHAUSTED`.
    pub(super) async fn reserve(&self, bytes: u64) -> Result<Reserved> {
        self.in_flight.reserve(&self.caller, bytes).await
    }
}

/// What a stream of a request holds, and what ends it.
pub(super) struct ReadStream {
    pub(super) turn: StreamTurn,
    pub(super) connection: Connection,
    pub(super) until: Until,
}

impl ReadStream {
    /// Opens the stream of a request, for `limit` at most.
    ///
    /// # Errors
    /// INTERNAL for a request that came without a turn.
    pub(super) fn open<T>(asked: &Request<T>, limit: Duration) -> Result<Self, Status> {
        let turn = asked.extensions().get::<StreamTurn>().cloned();
        // The layer of answers put it there; a call without it went another way and is refused.
        let turn = turn.ok_or_else(|| status(Error::internal("a stream without its turn")))?;
        let bound = sleep(limit);
        let given = asked.extensions().get::<CallDeadline>().filter(|CallDeadline(given)| *given < bound.deadline());
        let (time, error) = match given {
            Some(CallDeadline(given)) => {
                let message = "the caller's deadline passed before the stream had ended";
                (sleep_until(*given), Error::new(Reason::DeadlineExceeded, message))
            }
            None => {
                let seconds = limit.as_secs();
                let message = format!("a stream of this method may take {seconds} s: read faster, or by a better link");
                (bound, Error::new(Reason::RequestTimeout, message).with("limit_seconds", seconds))
            }
        };
        let until = Until { time: Box::pin(time), status: status(error) };
        Ok(Self { turn, connection: Connection::of(asked), until })
    }
}

/// Answers a call with the messages of its stream, which end at `until`.
pub(super) fn answer<M>(
    until: Until,
    messages: impl Stream<Item = Result<Bytes>> + Send + 'static,
) -> Response<EmptyStream<M>> {
    let mut response = Response::new(empty());
    frames::leave(&mut response, messages.map(|message| message.map_err(status)), Some(until));
    // Of a peer that has no room for the first message nothing else would notice that it takes none.
    taken::waits_still();
    response
}

/// Waits for the next message of a stream. When the server drains, the stream ends at once: others wait for its end.
///
/// # Errors
/// Those of `next`, and `SERVER_DRAINING`.
pub(super) async fn next_unless_draining<T>(
    connection: &Connection,
    next: impl Future<Output = Result<T>>,
) -> Result<T> {
    let draining = async {
        connection.ending().cancelled().await;
        // A connection that is only old is given some time, as other calls are.
        if connection.why() != Ending::Draining {
            std::future::pending().await
        }
    };
    tokio::select! {
        biased;
        () = draining => Err(Error::new(Reason::ServerDraining, "this server stops: ask again")),
        next = next => next,
    }
}

/// A message and the memory that is reserved for it. Dropped once the last of it is on the wire, or its stream has ended.
struct Held {
    bytes: Bytes,
    _reserved: Reserved,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes a message, and holds as much memory as it takes until it is on the wire.
///
/// # Errors
/// `REQUEST_BUDGET_EXHAUSTED` when it takes more than was reserved, and that is not there.
pub(super) fn held(message: &impl Message, mut reserved: Reserved) -> Result<Bytes> {
    let bytes = framed(message);
    reserved.resize(u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    Ok(Bytes::from_owner(Held { bytes, _reserved: reserved }))
}
