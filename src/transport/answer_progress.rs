//! How far the answers of a connection of the HTTP port were taken: a connection at its age limit ends, unless a long answer goes on.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

/// How far the answers of one connection were taken. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct AnswerProgress(Arc<AnswerCounts>);

#[derive(Debug, Default)]
struct AnswerCounts {
    taken_parts: AtomicU64,
    is_streaming: AtomicBool,
}

impl AnswerProgress {
    /// Returns how many parts of answers the connection has taken.
    pub fn taken_parts(&self) -> u64 {
        self.0.taken_parts.load(Ordering::Relaxed)
    }

    /// Returns whether an answer has parts that were not taken yet.
    pub fn is_streaming(&self) -> bool {
        self.0.is_streaming.load(Ordering::Relaxed)
    }

    /// Returns the body of an answer, which is followed to its end.
    pub fn follow<B: Body>(&self, body: B) -> FollowedBody<B> {
        // A body that is known whole has one part.
        let is_streamed = body.size_hint().exact().is_none();
        if is_streamed {
            self.0.is_streaming.store(true, Ordering::Relaxed);
        }
        FollowedBody { body, counts: is_streamed.then(|| Arc::clone(&self.0)) }
    }
}

/// The body of an answer. Its parts are counted when it is made while it is sent.
pub(super) struct FollowedBody<B> {
    body: B,
    counts: Option<Arc<AnswerCounts>>,
}

impl<B: Body + Unpin> Body for FollowedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Some(counts) = this.counts.as_ref().filter(|_| polled.is_ready()) {
            counts.taken_parts.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for FollowedBody<B> {
    fn drop(&mut self) {
        if let Some(counts) = &self.counts {
            counts.is_streaming.store(false, Ordering::Relaxed);
        }
    }
}
