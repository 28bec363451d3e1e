//! The response body of a server stream: encoded messages, passed to the connection without a copy.
//!
//! tonic would copy each message into a buffer of each stream. Here all streams share the bytes of one encoded message.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::Stream;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::Sleep;
use tonic::{Code, Status};

/// How many bytes are passed to the connection at once. Larger: a slow reader of a large message looks like one that reads nothing.
pub const SLICE_MAX_BYTES: usize = 64 * 1024;

/// The time at which a stream ends, however much of it is left, and its status.
#[derive(Debug)]
pub struct StreamDeadline {
    /// Completes when the stream ends.
    pub time: Pin<Box<Sleep>>,
    /// The status that the client then gets.
    pub status: Status,
}

/// A response body of encoded messages.
pub struct MessageBody<S> {
    /// None once the stream has ended. Then the memory of the messages is freed at once, even when the client reads no further.
    messages: Option<Pin<Box<S>>>,
    /// The part of the current message that was not passed to the connection yet.
    rest: Bytes,
    deadline: Option<StreamDeadline>,
}

impl<S> MessageBody<S>
where
    S: Stream<Item = Result<Bytes, Status>>,
{
    /// Creates a body of `messages`. It ends at the `deadline`, even in the middle of a message.
    pub fn new(messages: S, deadline: Option<StreamDeadline>) -> Self {
        Self { messages: Some(Box::pin(messages)), rest: Bytes::new(), deadline }
    }
}

impl<S> Body for MessageBody<S>
where
    S: Stream<Item = Result<Bytes, Status>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
        if let Some(StreamDeadline { time, status }) = &mut this.deadline
            && time.poll_unpin(context).is_ready()
        {
            (this.messages, this.rest) = (None, Bytes::new());
            return Poll::Ready(Some(status_trailers(status).map(Frame::trailers)));
        }
        if this.rest.is_empty() {
            match ready!(messages.as_mut().poll_next(context)) {
                Some(Ok(message)) => this.rest = message,
                end => {
                    this.messages = None;
                    let status = end.and_then(Result::err).unwrap_or_else(|| Status::new(Code::Ok, ""));
                    return Poll::Ready(Some(status_trailers(&status).map(Frame::trailers)));
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

/// Returns the trailers that end a response with `status`.
///
/// # Errors
/// When the status can't be written as headers.
pub fn status_trailers(status: &Status) -> Result<HeaderMap, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use futures_util::stream::{iter, pending};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    async fn next(body: &mut (impl Body<Data = Bytes, Error = Status> + Unpin)) -> Frame<Bytes> {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        frame.expect("a frame").expect("no error")
    }

    /// Given a slow reader or a message that does not come, the stream ends in time and frees what it holds.
    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_at_its_deadline_in_the_middle_of_a_message() {
        for message_bytes in [3 * SLICE_MAX_BYTES, 1] {
            let held = Arc::new(());
            let holds = Arc::clone(&held);
            let message = Bytes::from(vec![7; message_bytes]);
            let messages = iter([Ok(message)]).chain(pending()).map(move |message| {
                let _ = &holds;
                message
            });
            let status = Status::deadline_exceeded("late");
            let deadline = StreamDeadline { time: Box::pin(tokio::time::sleep(LIMIT)), status };
            let mut body = MessageBody::new(messages, Some(deadline));
            let began = tokio::time::Instant::now();
            assert!(next(&mut body).await.is_data());
            if message_bytes > SLICE_MAX_BYTES {
                tokio::time::sleep(LIMIT).await;
            }
            let trailers = next(&mut body).await.into_trailers().expect("the end");
            assert_eq!((trailers["grpc-status"].as_bytes(), began.elapsed()), (&b"4"[..], LIMIT));
            assert!(body.is_end_stream() && Arc::strong_count(&held) == 1, "what it held is freed");
        }
    }

    /// Given two streams of one message, both hand out the same memory.
    #[tokio::test]
    async fn streams_share_the_bytes_of_a_message() {
        let message = Bytes::from(vec![7; 100]);
        for _ in 0..2 {
            let mut body = MessageBody::new(iter([Ok(message.clone())]), None);
            let data = next(&mut body).await.into_data().expect("data");
            assert_eq!(data.as_ptr(), message.as_ptr());
        }
    }
}
