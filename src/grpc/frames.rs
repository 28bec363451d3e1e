//! The body of a stream: messages that are written already, handed to the connection as they are.
//!
//! tonic would copy each message into a buffer of each stream. So the handlers of streams answer tonic an empty
//! stream, with this body beside it in the response's extensions; `attach` puts it in its place.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::Stream;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tonic::{Code, Status};
use tower::BoxError;

use super::status_message::{self, PlainTrailers};
use super::taken::Taken;

/// Bytes handed to the connection at once. Larger: a slow reader of a large message looks like one that takes nothing.
const SLICE_MAX_BYTES: usize = 64 * 1024;

/// A body that waits in the extensions of a response.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<tonic::body::Body>>>);

/// When a stream ends, however much of it is left, and with which status.
pub(super) struct Until {
    pub(super) time: Pin<Box<Sleep>>,
    pub(super) status: Status,
}

/// The body.
struct Messages<S> {
    /// None once it has ended: what they hold is given back at once, also when nobody takes what is left.
    messages: Option<Pin<Box<S>>>,
    /// What is left of the message that is being handed over.
    rest: Bytes,
    until: Option<Until>,
}

/// Leaves `messages` with a response, for [`attach`]. With `until`, they end then, in the midst of a message too.
pub(super) fn leave<T, S>(response: &mut tonic::Response<T>, messages: S, until: Option<Until>)
where
    S: Stream<Item = Result<Bytes, Status>> + Send + 'static,
{
    let body = Messages { messages: Some(Box::pin(messages)), rest: Bytes::new(), until };
    let waiting = Waiting(Arc::new(Mutex::new(Some(tonic::body::Body::new(body)))));
    response.extensions_mut().insert(waiting);
}

/// Gives a response the body that was left with it, if one was, and watches that somebody takes it. Every answer passes here: the
/// message of its status is written as the specification has it, in the headers or in the trailers.
pub fn attach<B>(mut response: Response<B>) -> Response<tonic::body::Body>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let left = response.extensions_mut().remove::<Waiting>();
    let left = left.and_then(|Waiting(body)| body.lock().unwrap_or_else(PoisonError::into_inner).take());
    status_message::rewrite(response.headers_mut());
    response.map(|body| {
        let body = left.unwrap_or_else(|| tonic::body::Body::new(body));
        tonic::body::Body::new(PlainTrailers(Taken::new(body)))
    })
}

impl<S> Body for Messages<S>
where
    S: Stream<Item = Result<Bytes, Status>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        if let Some(Until { time, status }) = &mut this.until
            && time.poll_unpin(context).is_ready()
        {
            (this.messages, this.rest) = (None, Bytes::new());
            return Poll::Ready(Some(trailers(status).map(Frame::trailers)));
        }
        if this.rest.is_empty() {
            match ready!(messages.as_mut().poll_next(context)) {
                Some(Ok(message)) => this.rest = message,
                end => {
                    this.messages = None;
                    let status = end.and_then(Result::err).unwrap_or_else(|| Status::new(Code::Ok, ""));
                    return Poll::Ready(Some(trailers(&status).map(Frame::trailers)));
                }
            }
        }
        let length = self.rest.len().min(SLICE_MAX_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.messages.is_none()
    }
}

fn trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use futures_util::stream::{iter, pending};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn next(body: &mut (impl Body<Data = Bytes, Error = Status> + Unpin)) -> Frame<Bytes> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.expect("a frame").expect("no error")
    }

    /// Whether its reader is slow or its next message does not come: it ends in time, and gives back what it holds.
    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_in_time_in_the_midst_of_a_message() {
        for message_bytes in [3 * SLICE_MAX_BYTES, 1] {
            let held = Arc::new(());
            let holds = Arc::clone(&held);
            let message = Bytes::from(vec![7; message_bytes]);
            let messages = iter([Ok(message)]).chain(pending()).map(move |message| {
                let _ = &holds;
                message
            });
            let status = Status::deadline_exceeded("late");
            let until = Until { time: Box::pin(tokio::time::sleep(LIMIT)), status };
            let mut body = Messages { messages: Some(Box::pin(messages)), rest: Bytes::new(), until: Some(until) };
            let began = tokio::time::Instant::now();
            assert!(next(&mut body).await.is_data());
            if message_bytes > SLICE_MAX_BYTES {
                tokio::time::sleep(LIMIT).await;
            }
            let trailers = next(&mut body).await.into_trailers().expect("the end");
            assert_eq!((trailers["grpc-status"].as_bytes(), began.elapsed()), (&b"4"[..], LIMIT));
            assert!(body.is_end_stream() && Arc::strong_count(&held) == 1, "what it held is free");
        }
    }
}
