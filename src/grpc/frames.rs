//! The body of a watch: messages that are written already, handed to the connection as they are.
//!
//! tonic would copy each message into a buffer of each stream. So the handler of `WatchActive` answers tonic an empty
//! stream, with this body beside it in the response's extensions; `attach` puts it in its place.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use tonic::{Code, Status};
use tower::BoxError;

use super::status_message::{self, PlainTrailers};
use super::taken::Taken;

/// Bytes handed to the connection at once. Larger: a slow reader of a large message looks like one that takes nothing.
const SLICE_MAX_BYTES: usize = 64 * 1024;

/// A body that waits in the extensions of a response.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<tonic::body::Body>>>);

/// The body.
struct Messages<S> {
    messages: Pin<Box<S>>,
    /// What is left of the message that is being handed over.
    rest: Bytes,
    ended: bool,
}

/// Leaves `messages` with a response, for [`attach`].
pub(super) fn leave<T, S>(response: &mut tonic::Response<T>, messages: S)
where
    S: Stream<Item = Result<Bytes, Status>> + Send + 'static,
{
    let body = Messages { messages: Box::pin(messages), rest: Bytes::new(), ended: false };
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
        if self.ended {
            return Poll::Ready(None);
        }
        if self.rest.is_empty() {
            match ready!(self.messages.as_mut().poll_next(context)) {
                Some(Ok(message)) => self.rest = message,
                end => {
                    self.ended = true;
                    let status = end.and_then(Result::err).unwrap_or_else(|| Status::new(Code::Ok, ""));
                    return Poll::Ready(Some(trailers(&status).map(Frame::trailers)));
                }
            }
        }
        let length = self.rest.len().min(SLICE_MAX_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

fn trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
}
