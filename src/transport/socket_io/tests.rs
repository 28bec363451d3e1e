//! Tests that written bytes arrive once and in order, however much the socket accepts at a time; and how many writes that takes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use hyper::rt::Executor as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::task::TaskTracker;

use super::*;
use crate::transport::CloseReason;
use crate::transport::executor::ConnectionStreams;

/// A socket that accepts the given numbers of bytes, one number per write; a 0 is a full socket. Without numbers left it accepts all.
#[derive(Debug, Default)]
struct FakeSocket {
    turns: VecDeque<usize>,
    taken: Vec<u8>,
    writes: usize,
    flushes: usize,
    shut: bool,
}

impl FakeSocket {
    fn accept(&mut self, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let room = self.turns.pop_front().unwrap_or(all.len());
        if room == 0 {
            return Poll::Pending;
        }
        self.writes += 1;
        let written = room.min(all.len());
        self.taken.extend_from_slice(&all[..written]);
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for FakeSocket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        into.put_slice(b"after".get(..into.remaining()).unwrap_or(b"after"));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FakeSocket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.accept(&[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.accept(slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug)]
struct Uncounted;

impl ConnectionMetrics for Uncounted {
    fn opened(&self) {}
    fn closed(&self, _: CloseReason) {}
    fn refused(&self, _: CloseReason) {}
    fn accept_failed(&self) {}
    fn wrote(&self) {}
}

const WRITE_TIMEOUT: Duration = Duration::from_secs(50);
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Wraps a socket of a connection with `open` streams.
fn io(turns: &[usize], open: usize) -> (SharedIo<FakeSocket>, ConnectionStreams) {
    let streams = ConnectionStreams::new(TaskTracker::new(), STALL_TIMEOUT);
    spawn_streams(&streams, open);
    let socket = FakeSocket { turns: turns.iter().copied().collect(), ..FakeSocket::default() };
    (SharedIo::new(socket, b"", streams.executor(), WRITE_TIMEOUT, Arc::new(Uncounted)), streams)
}

fn spawn_streams(streams: &ConnectionStreams, open: usize) {
    for _ in 0..open {
        streams.executor().execute(std::future::pending());
    }
}

/// Aborts all streams and removes them.
async fn abort_streams(streams: &ConnectionStreams) {
    streams.executor().abort_all();
    while streams.executor().stream_count() > 0 {
        tokio::task::yield_now().await;
        streams.executor().reap();
    }
}

/// Returns the number of writes and flushes so far.
fn cost(io: &SharedIo<FakeSocket>) -> (usize, usize) {
    let io = io.lock();
    (io.socket.writes, io.socket.flushes)
}

/// Writes frames as h2 does: header and payload, then a flush, each by itself. A pending write is retried.
fn write_frames(io: &mut SharedIo<FakeSocket>, frames: std::ops::Range<u32>, context: &mut Context<'_>) -> Vec<u8> {
    let mut sent = Vec::new();
    for frame in frames {
        let (header, payload) = (frame.to_be_bytes(), vec![b'x'; 1_000]);
        let whole = [header.as_slice(), &payload].concat();
        let mut left = whole.as_slice();
        while !left.is_empty() {
            let (head, tail) = left.split_at(left.len().min(header.len()));
            match Pin::new(&mut *io).poll_write_vectored(context, &[IoSlice::new(head), IoSlice::new(tail)]) {
                Poll::Ready(written) => left = &left[written.expect("a write")..],
                Poll::Pending => {}
            }
        }
        while Pin::new(&mut *io).poll_flush(context).is_pending() {}
        sent.extend_from_slice(&whole);
    }
    sent
}

#[tokio::test]
async fn with_several_streams_one_poll_is_one_write() {
    let mut context = Context::from_waker(Waker::noop());
    let (mut io, _streams) = io(&[], 2);
    let sent = write_frames(&mut io, 0..60, &mut context);
    assert_eq!(cost(&io), (0, 0), "it waits for the end of the poll");
    assert!(io.poll_flush_buffer(&mut context).is_ready());
    assert_eq!(cost(&io), (1, 1));
    assert_eq!(io.lock().socket.taken, sent);
    assert_eq!(io.lock().buffer.capacity(), 0, "an idle connection keeps no buffer");
    assert!(io.poll_flush_buffer(&mut context).is_ready());
    assert_eq!(cost(&io), (1, 1), "a poll that wrote nothing costs nothing");
}

#[tokio::test]
async fn with_one_stream_each_frame_goes_out_at_once() {
    let mut context = Context::from_waker(Waker::noop());
    for open in [0, 1] {
        let (mut io, _streams) = io(&[], open);
        let sent = write_frames(&mut io, 0..10, &mut context);
        assert_eq!(cost(&io), (10, 10), "header and payload are one write");
        assert_eq!(io.lock().socket.taken, sent);
    }
}

#[tokio::test]
async fn coalescing_is_bounded() {
    let mut context = Context::from_waker(Waker::noop());
    let (mut io, _streams) = io(&[], 2);
    let sent = write_frames(&mut io, 0..1_000, &mut context);
    assert!(io.lock().buffer.len() <= BUFFER_MAX_BYTES);
    assert!(io.poll_flush_buffer(&mut context).is_ready());
    assert!(io.lock().socket.taken == sent);
    let least = sent.len().div_ceil(BUFFER_MAX_BYTES);
    assert_eq!(io.lock().socket.writes, least);
    // While the socket is full, no more than that is buffered.
    io.lock().socket.turns = vec![0; 3].into();
    let large = vec![b'y'; 2 * BUFFER_MAX_BYTES];
    let polled = Pin::new(&mut io).poll_write(&mut context, &large);
    assert!(matches!(polled, Poll::Ready(Ok(BUFFER_MAX_BYTES))), "{polled:?}");
    assert!(Pin::new(&mut io).poll_write(&mut context, &large).is_pending());
    assert_eq!(io.lock().buffer.len(), BUFFER_MAX_BYTES);
}

#[tokio::test]
async fn bytes_stay_in_order_when_streams_come_and_go_and_writes_are_partial() {
    let mut context = Context::from_waker(Waker::noop());
    let turns: Vec<usize> = (0..3_000).map(|turn| [1, 700, 0, 5_000, 3][turn % 5]).collect();
    let (mut io, streams) = io(&turns, 2);
    let mut sent = Vec::new();
    for round in 0..30 {
        sent.extend(write_frames(&mut io, round * 10..round * 10 + 10, &mut context));
        if round % 3 == 0 {
            abort_streams(&streams).await;
        } else if streams.executor().stream_count() == 0 {
            spawn_streams(&streams, 2);
        }
        if round % 4 == 0 {
            let _ = io.poll_flush_buffer(&mut context);
        }
    }
    while io.poll_flush_buffer(&mut context).is_pending() {}
    assert!(io.lock().socket.taken == sent, "bytes were lost, doubled or moved");
}

#[tokio::test]
async fn shutting_down_sends_the_buffer() {
    let (mut io, _streams) = io(&[2, 0, 1], 2);
    io.write_all(b"the last bytes").await.expect("a write");
    let mut context = Context::from_waker(Waker::noop());
    while Pin::new(&mut io).poll_shutdown(&mut context).is_pending() {
        assert!(!io.lock().socket.shut, "the socket was closed before the last bytes");
    }
    assert_eq!(io.lock().socket.taken, b"the last bytes");
    assert!(io.lock().socket.shut);
}

#[tokio::test]
async fn what_was_read_ahead_comes_first() {
    let streams = ConnectionStreams::new(TaskTracker::new(), STALL_TIMEOUT);
    let socket = FakeSocket::default();
    let mut io = SharedIo::new(socket, b"before", streams.executor(), WRITE_TIMEOUT, Arc::new(Uncounted));
    let mut read = [0; 11];
    // Read in pieces that match neither the buffer nor the frames.
    for piece in read.chunks_mut(4) {
        io.read_exact(piece).await.expect("bytes");
    }
    assert_eq!(&read[..6], b"before");
    assert_eq!(&read[6..8], b"af");
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_takes_nothing_is_an_error_in_time() {
    for open in [0, 2] {
        let full = vec![0; 1_000];
        let (mut io, _streams) = io(&full, open);
        let tries = AtomicUsize::new(0);
        let started = tokio::time::Instant::now();
        let error = std::future::poll_fn(|context| {
            tries.fetch_add(1, Ordering::Relaxed);
            if open == 0 {
                return Pin::new(&mut io).poll_write(context, b"anybody there").map(|polled| polled.map(|_| ()));
            }
            ready!(Pin::new(&mut io).poll_write(context, b"anybody there"))?;
            io.poll_flush_buffer(context)
        });
        assert_eq!(error.await.expect_err("a full socket").kind(), io::ErrorKind::TimedOut);
        assert!(io.loss() == Some(Loss::Stalled) && started.elapsed() >= WRITE_TIMEOUT);
        assert!(tries.into_inner() < 10, "it waits and does not poll in a loop");
    }
    // Any progress restarts the timeout.
    let (mut io, _streams) = io(&[0, 3, 0, 3], 0);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..2 {
        assert!(Pin::new(&mut io).poll_write(&mut context, b"abc").is_pending());
        tokio::time::advance(WRITE_TIMEOUT - Duration::from_secs(1)).await;
        assert!(Pin::new(&mut io).poll_write(&mut context, b"abc").is_ready());
    }
    assert_eq!(io.loss(), None);
}
