//! Resets streams whose readers read nothing. A client that stops reading loses only that stream.
//!
//! hyper polls a body only when there is capacity for its next frame, so the body of a stalled stream is never polled again and can't
//! notice the stall itself. [`StallGuard`] runs the whole stream and can: it checks whether a poll followed the last frame. The two share
//! one [`StreamProgress`]. The guard passes it to [`StallGuardLayer`] in a task-local variable, because hyper creates the stream in
//! between; from there it is in the extensions of the request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::Map;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tower::{BoxError, Layer, Service};

/// How long the reader of a unary answer may read nothing. A frame has up to 64 KiB, so a reader below 6 KiB/s is too slow. Longer:
/// answers that nobody reads are in memory longer. Shorter: slow links fail.
const ANSWER_STALL_TIMEOUT: Duration = Duration::from_secs(10);

tokio::task_local! {
    static PROGRESS: StreamProgress;
}

/// The progress of a stream's reader. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct StreamProgress(Arc<ReaderProgress>);

#[derive(Debug, Default)]
struct ReaderProgress {
    /// Number of frames passed to the connection.
    frames: AtomicU64,
    /// Whether the last of them still waits for capacity.
    is_waiting: AtomicBool,
    is_answer: AtomicBool,
    is_stalled: AtomicBool,
}

impl StreamProgress {
    /// Returns the progress of the stream on which a request came; a new one for a request that came another way.
    #[must_use]
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Limits the reader to the shorter timeout of a unary answer.
    pub fn limit_as_answer(&self) {
        self.0.is_answer.store(true, Ordering::Relaxed);
    }

    /// Starts the timeout of the reader although the body was not polled, or returned no new frame.
    pub fn expect_reader(&self) {
        self.0.is_waiting.store(true, Ordering::Relaxed);
    }

    /// Returns whether the stream was reset because its reader read nothing. A value that the stream holds can ask when it is dropped.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.0.is_stalled.load(Ordering::Relaxed)
    }
}

/// Runs a stream of a connection, and drops it when its reader reads nothing for the timeout.
pub(super) struct StallGuard<F> {
    /// None once it has ended.
    stream: Option<Pin<Box<F>>>,
    progress: StreamProgress,
    timeout: Duration,
    /// The timer of a waiting frame, with the number of that frame.
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F> StallGuard<F> {
    /// Guards `stream`.
    pub(super) fn new(stream: F, timeout: Duration) -> Self {
        Self { stream: Some(Box::pin(stream)), progress: StreamProgress::default(), timeout, timer: None }
    }
}

impl<F: Future<Output = ()>> Future for StallGuard<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(()) };
        let polled = PROGRESS.sync_scope(this.progress.clone(), || stream.as_mut().poll(context));
        if polled.is_ready() {
            this.stream = None;
            return Poll::Ready(());
        }
        let progress = &this.progress.0;
        if !progress.is_waiting.load(Ordering::Relaxed) {
            this.timer = None;
            return Poll::Pending;
        }
        let frame = progress.frames.load(Ordering::Relaxed);
        let is_answer = progress.is_answer.load(Ordering::Relaxed);
        let timeout = if is_answer { this.timeout.min(ANSWER_STALL_TIMEOUT) } else { this.timeout };
        let (_, sleep) = match &mut this.timer {
            Some(timer) if timer.0 == frame => timer,
            timer => timer.insert((frame, Box::pin(tokio::time::sleep(timeout)))),
        };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        progress.is_stalled.store(true, Ordering::Relaxed);
        // hyper resets a stream that is dropped.
        this.stream = None;
        Poll::Ready(())
    }
}

/// Connects each response body with the guard of its stream.
#[derive(Debug, Clone, Copy)]
pub struct StallGuardLayer;

impl<S> Layer<S> for StallGuardLayer {
    type Service = StallGuarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StallGuarded { inner }
    }
}

/// Connects the response bodies of a service with the guards of their streams.
#[derive(Debug, Clone)]
pub struct StallGuarded<S> {
    inner: S,
}

type WrapBody<B, E> = Box<dyn FnOnce(Result<Response<B>, E>) -> Result<Response<tonic::body::Body>, E> + Send>;

impl<S, Q, B> Service<Request<Q>> for StallGuarded<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<tonic::body::Body>;
    type Error = S::Error;
    type Future = Map<S::Future, WrapBody<B, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        // hyper polls the call inside of the stream, and so inside of its guard.
        let progress = PROGRESS.try_with(StreamProgress::clone).unwrap_or_default();
        request.extensions_mut().insert(progress.clone());
        let wrap: WrapBody<B, S::Error> =
            Box::new(|answer| Ok(answer?.map(|body| tonic::body::Body::new(GuardedBody { body, progress }))));
        self.inner.call(request).map(wrap)
    }
}

/// A response body that records in the progress of its stream when it is polled, and what it returned.
#[derive(Debug)]
struct GuardedBody<B> {
    body: B,
    progress: StreamProgress,
}

impl<B: Body + Unpin> Body for GuardedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.progress.0.is_waiting.store(false, Ordering::Relaxed);
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(&frame, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            self.progress.0.frames.fetch_add(1, Ordering::Relaxed);
            self.progress.expect_reader();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A body without an end.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// Handles a body as hyper does: poll, wait for capacity, poll again. Reports each frame that it took.
    async fn pipe(mut room: mpsc::Receiver<()>, taken: mpsc::Sender<()>) {
        let mut service = StallGuardLayer
            .layer(tower::service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(Endless))));
        let mut body = service.call(Request::new(())).await.expect("an answer").into_body();
        loop {
            std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            if room.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            let _ = taken.send(()).await;
        }
    }

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_reader_takes_nothing_is_reset() {
        let (_room, has_room) = mpsc::channel(1);
        let (taken, _) = mpsc::channel(1);
        let started = tokio::time::Instant::now();
        StallGuard::new(pipe(has_room, taken), TIMEOUT).await;
        assert_eq!(started.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_takes_something_keeps_its_stream() {
        let (room, has_room) = mpsc::channel(1);
        let (taken, mut takes) = mpsc::channel(1);
        let mut streams = tokio::task::JoinSet::new();
        streams.spawn(StallGuard::new(pipe(has_room, taken), TIMEOUT));
        for _ in 0..10 {
            tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
            room.send(()).await.expect("a stream that goes on");
            takes.recv().await.expect("a frame taken");
        }
        assert!(streams.try_join_next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_nothing_to_send_is_not_stalled() {
        let quiet = StallGuard::new(std::future::pending(), TIMEOUT);
        assert!(tokio::time::timeout(TIMEOUT * 100, quiet).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_stream_held_knows_why_it_is_dropped() {
        struct Holder(StreamProgress, std::sync::mpsc::Sender<bool>);
        impl Drop for Holder {
            fn drop(&mut self) {
                self.1.send(self.0.is_stalled()).expect("a test that listens");
            }
        }
        let (dropped, why) = std::sync::mpsc::channel();
        let (_room, has_room) = mpsc::channel(1);
        let (taken, _) = mpsc::channel(1);
        let sender = dropped.clone();
        let stream = async move {
            let _holder = Holder(PROGRESS.get(), sender);
            pipe(has_room, taken).await;
        };
        StallGuard::new(stream, TIMEOUT).await;
        assert_eq!(why.recv(), Ok(true));
        drop(Holder(StreamProgress::default(), dropped));
        assert_eq!(why.recv(), Ok(false));
    }
}
