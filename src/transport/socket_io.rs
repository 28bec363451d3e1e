//! Writes the bytes of a connection to its socket.
//!
//! While several streams share the connection, watches or calls, small writes are coalesced and sent together once per poll of the
//! connection: h2 writes and flushes each DATA frame by itself, a system call each. With one stream there is nothing to coalesce, so writes
//! pass straight through. A socket that accepts nothing for too long is an error, because h2 would wait forever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection_metrics::ConnectionMetrics;
use super::executor::StreamExecutor;

/// How much is coalesced at most; more is written at once.
const BUFFER_MAX_BYTES: usize = 64 * 1024;
/// From this many streams on, writes are coalesced.
const COALESCING_MIN_STREAMS: usize = 2;

/// A socket that hyper writes to and its connection flushes. Both are in one task, so the lock is never contended.
#[derive(Debug)]
pub(super) struct SharedIo<S>(Arc<Mutex<BufferedSocket<S>>>);

impl<S> Clone for SharedIo<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct BufferedSocket<S> {
    socket: S,
    /// Bytes that were already read from the socket; hyper reads them first.
    ahead: &'static [u8],
    buffer: BytesMut,
    /// Whether a flush was reported to h2 and is not done yet.
    needs_flush: bool,
    executor: StreamExecutor,
    /// How long the socket may accept nothing.
    write_timeout: Duration,
    stall_timer: Option<Pin<Box<Sleep>>>,
    metrics: Arc<dyn ConnectionMetrics>,
    loss: Option<Loss>,
}

/// Why a socket was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The peer read nothing.
    Stalled,
    /// The peer or the network closed it.
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SharedIo<S> {
    /// Wraps a socket that the streams of `executor` share. `ahead` is read before it; a write that makes no progress for `write_timeout` fails.
    pub(super) fn new(
        socket: S,
        ahead: &'static [u8],
        executor: StreamExecutor,
        write_timeout: Duration,
        metrics: Arc<dyn ConnectionMetrics>,
    ) -> Self {
        let buffer = BytesMut::new();
        let io = BufferedSocket {
            socket,
            ahead,
            buffer,
            needs_flush: false,
            executor,
            write_timeout,
            stall_timer: None,
            metrics,
            loss: None,
        };
        Self(Arc::new(Mutex::new(io)))
    }

    /// Returns whether writes are sent together.
    pub(super) fn is_coalescing(&self) -> bool {
        self.lock().is_coalescing()
    }

    /// Returns why the socket was lost, if it was.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.lock().loss
    }

    /// Writes the buffer and flushes; the connection calls it after each of its polls.
    pub(super) fn poll_flush_buffer(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        if io.needs_flush { io.poll_flush_all(context) } else { Poll::Ready(Ok(())) }
    }

    fn lock(&self) -> MutexGuard<'_, BufferedSocket<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> BufferedSocket<S> {
    fn is_coalescing(&self) -> bool {
        self.executor.stream_count() >= COALESCING_MIN_STREAMS
    }

    /// Fails a write that has been pending for the write timeout.
    fn bound_wait<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = polled {
            self.stall_timer = None;
            return Poll::Ready(self.record_loss(done));
        }
        let write_timeout = self.write_timeout;
        let timer = self.stall_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
        ready!(timer.as_mut().poll(context));
        self.loss = Some(Loss::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn count(&self, written: &Poll<io::Result<usize>>) {
        if written.is_ready() {
            self.metrics.wrote();
        }
    }

    fn record_loss<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if done.is_err() {
            self.loss = Some(Loss::Broken);
        }
        done
    }

    fn poll_write_buffer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.buffer.has_remaining() {
            let polled = Pin::new(&mut self.socket).poll_write(context, &self.buffer);
            self.count(&polled);
            match ready!(self.bound_wait(context, polled))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.buffer.advance(written),
            }
        }
        // Otherwise thousands of idle connections would each keep 64 KiB.
        self.buffer = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_flush_all(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_buffer(context))?;
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        ready!(self.bound_wait(context, polled))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.is_coalescing() {
            ready!(self.poll_write_buffer(context))?;
            let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
            self.count(&polled);
            return self.bound_wait(context, polled);
        }
        if self.buffer.len() >= BUFFER_MAX_BYTES {
            ready!(self.poll_write_buffer(context))?;
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(BUFFER_MAX_BYTES);
        }
        let before = self.buffer.len();
        for slice in slices {
            let room = BUFFER_MAX_BYTES - self.buffer.len();
            self.buffer.extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        self.needs_flush = true;
        Poll::Ready(Ok(self.buffer.len() - before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SharedIo<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        if io.ahead.is_empty() {
            let read = ready!(Pin::new(&mut io.socket).poll_read(context, into));
            return Poll::Ready(io.record_loss(read));
        }
        let (now, later) = io.ahead.split_at(io.ahead.len().min(into.remaining()));
        into.put_slice(now);
        io.ahead = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SharedIo<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        if io.is_coalescing() {
            // h2 flushes after each frame. `poll_flush_buffer` does it once for all of them.
            io.needs_flush = true;
            return Poll::Ready(Ok(()));
        }
        io.poll_flush_all(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        ready!(io.poll_write_buffer(context))?;
        let polled = Pin::new(&mut io.socket).poll_shutdown(context);
        io.bound_wait(context, polled)
    }
}

#[cfg(test)]
mod tests;
