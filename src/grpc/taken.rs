//! Whether a peer takes what it is sent. One that takes nothing loses its stream, and nothing but that.
//!
//! hyper asks a body for its next piece when there is room for it and not before, so a stuck reader's body is never asked
//! again and can't notice by itself. Who runs the stream can: it looks whether the last piece was followed by a question.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// What became of the last piece of a stream.
#[derive(Debug, Default)]
struct Pieces {
    handed: AtomicU64,
    /// Whether the last one handed over is still waiting for room.
    waiting: AtomicBool,
    /// Whether they are of an answer, which has less time than a watch.
    is_answer: AtomicBool,
}

/// How long the peer of an answer may take nothing of it. Each piece has 64 KiB, so who takes less than 6 KiB/s is slower.
/// Longer: answers that nobody reads are in memory longer. Shorter: slow links fail.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

tokio::task_local! {
    static PIECES: Arc<Pieces>;
}

thread_local! {
    /// Whether what is being dropped on this thread is a stream that was given up.
    static GIVING_UP: Cell<bool> = const { Cell::new(false) };
}

/// A response body that tells who runs its stream when it is asked for more.
#[derive(Debug)]
pub struct Taken<B>(B);

impl<B> Taken<B> {
    /// Watches a body.
    pub fn new(body: B) -> Self {
        Self(body)
    }
}

impl<B: Body + Unpin> Body for Taken<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let _ = PIECES.try_with(|pieces| pieces.waiting.store(false, Ordering::Relaxed));
        let piece = Pin::new(&mut self.0).poll_frame(context);
        if matches!(&piece, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            let _ = PIECES.try_with(|pieces| {
                pieces.handed.fetch_add(1, Ordering::Relaxed);
                pieces.waiting.store(true, Ordering::Relaxed);
            });
        }
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Says that the body that is asked now is that of an answer.
pub(super) fn is_of_answer() {
    let _ = PIECES.try_with(|pieces| pieces.is_answer.store(true, Ordering::Relaxed));
}

/// Says that the last piece of the body that is asked now is not on the wire yet.
pub(super) fn waits_still() {
    let _ = PIECES.try_with(|pieces| pieces.waiting.store(true, Ordering::Relaxed));
}

/// A stream of a connection, given up when its peer takes nothing of it for `patience`.
pub struct Patient<F> {
    /// None once it has ended.
    stream: Option<Pin<Box<F>>>,
    pieces: Arc<Pieces>,
    patience: Duration,
    /// Runs while a piece waits; with the number of the piece.
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F> Patient<F> {
    /// Runs `stream` with this much patience.
    pub fn new(stream: F, patience: Duration) -> Self {
        Self { stream: Some(Box::pin(stream)), pieces: Arc::default(), patience, waiting: None }
    }
}

impl<F: Future<Output = ()>> Future for Patient<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(()) };
        let polled = PIECES.sync_scope(Arc::clone(&this.pieces), || stream.as_mut().poll(context));
        if polled.is_ready() {
            this.stream = None;
            return Poll::Ready(());
        }
        if !this.pieces.waiting.load(Ordering::Relaxed) {
            this.waiting = None;
            return Poll::Pending;
        }
        let piece = this.pieces.handed.load(Ordering::Relaxed);
        let is_answer = this.pieces.is_answer.load(Ordering::Relaxed);
        let patience = if is_answer { this.patience.min(ANSWER_PATIENCE) } else { this.patience };
        let (_, sleep) = match &mut this.waiting {
            Some(waiting) if waiting.0 == piece => waiting,
            waiting => waiting.insert((piece, Box::pin(tokio::time::sleep(patience)))),
        };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        GIVING_UP.set(true);
        // Dropping it resets the stream.
        this.stream = None;
        GIVING_UP.set(false);
        Poll::Ready(())
    }
}

/// Whether the stream that is being dropped was given up because its peer took nothing.
#[must_use]
pub(super) fn is_given_up() -> bool {
    GIVING_UP.get()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
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

    /// What hyper does with a body: ask, wait for room, ask again. Tells what it took.
    async fn pipe(mut room: mpsc::Receiver<()>, taken: mpsc::Sender<()>) {
        let mut body = Taken::new(Endless);
        loop {
            std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
            if room.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            let _ = taken.send(()).await;
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_peer_takes_nothing_is_given_up() {
        let (_room, has_room) = mpsc::channel(1);
        let (taken, _) = mpsc::channel(1);
        let started = tokio::time::Instant::now();
        Patient::new(pipe(has_room, taken), PATIENCE).await;
        assert_eq!(started.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_that_takes_something_keeps_its_stream() {
        let (room, has_room) = mpsc::channel(1);
        let (taken, mut takes) = mpsc::channel(1);
        let mut streams = tokio::task::JoinSet::new();
        streams.spawn(Patient::new(pipe(has_room, taken), PATIENCE));
        for _ in 0..10 {
            tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
            room.send(()).await.expect("a stream that goes on");
            takes.recv().await.expect("a piece taken");
        }
        assert!(streams.try_join_next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_nothing_to_send_is_not_stuck() {
        let quiet = Patient::new(std::future::pending(), PATIENCE);
        assert!(tokio::time::timeout(PATIENCE * 100, quiet).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_knows_why() {
        struct Watch(std::sync::mpsc::Sender<bool>);
        impl Drop for Watch {
            fn drop(&mut self) {
                self.0.send(is_given_up()).expect("a test that listens");
            }
        }
        let (dropped, why) = std::sync::mpsc::channel();
        let (_room, has_room) = mpsc::channel(1);
        let (taken, _) = mpsc::channel(1);
        let watch = Watch(dropped.clone());
        let stream = async move {
            let _watch = watch;
            pipe(has_room, taken).await;
        };
        Patient::new(stream, PATIENCE).await;
        assert_eq!(why.recv(), Ok(true));
        drop(Watch(dropped));
        assert_eq!(why.recv(), Ok(false));
    }
}
