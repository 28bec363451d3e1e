//! The bytes of a connection on their way to its socket.
//!
//! While several watches share the connection, small writes are gathered and go out together once per turn of the
//! connection: h2 writes and flushes each DATA frame by itself, a system call each. With one stream there is nothing to
//! gather, so writes pass straight through. A socket that takes nothing for too long is an error: h2 would wait.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::grpc::Connection;

/// Most that is gathered; more goes out at once.
const GATHERED_MAX_BYTES: usize = 64 * 1024;
/// From so many watches on, writes are gathered.
const GATHERING_MIN_WATCHES: usize = 2;

/// A socket that hyper writes to and its connection flushes. Both are in one task: nobody waits for the lock.
#[derive(Debug)]
pub(super) struct SharedIo<S>(Arc<Mutex<Io<S>>>);

impl<S> Clone for SharedIo<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[derive(Debug)]
struct Io<S> {
    socket: S,
    /// Read from the socket before, not by hyper yet.
    ahead: &'static [u8],
    gathered: BytesMut,
    /// A flush was promised and not done.
    unflushed: bool,
    connection: Connection,
    /// How long the socket may take nothing.
    patience: Duration,
    impatient: Option<Pin<Box<Sleep>>>,
    loss: Option<Loss>,
}

/// How a socket was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The peer took nothing.
    Stalled,
    /// The peer, or something between, broke it.
    Broken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SharedIo<S> {
    /// Wraps a socket. `ahead` is read before it; a write that makes no progress for `patience` fails.
    pub(super) fn new(socket: S, ahead: &'static [u8], connection: Connection, patience: Duration) -> Self {
        let gathered = BytesMut::new();
        let io = Io { socket, ahead, gathered, unflushed: false, connection, patience, impatient: None, loss: None };
        Self(Arc::new(Mutex::new(io)))
    }

    /// How it was lost, if it was.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.lock().loss
    }

    /// Sends what was gathered; after each turn of the connection.
    pub(super) fn poll_gathered(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        if io.unflushed { io.poll_out(context) } else { Poll::Ready(Ok(())) }
    }

    fn lock(&self) -> MutexGuard<'_, Io<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    fn gathers(&self) -> bool {
        self.connection.watches() >= GATHERING_MIN_WATCHES
    }

    /// Waits for the peer, but not for ever.
    fn patiently<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = polled {
            self.impatient = None;
            return Poll::Ready(self.noted(done));
        }
        let patience = self.patience;
        let timer = self.impatient.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        ready!(timer.as_mut().poll(context));
        self.loss = Some(Loss::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn noted<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        if done.is_err() {
            self.loss = Some(Loss::Broken);
        }
        done
    }

    fn poll_write_gathered(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gathered.has_remaining() {
            let polled = Pin::new(&mut self.socket).poll_write(context, &self.gathered);
            match ready!(self.patiently(context, polled))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.gathered.advance(written),
            }
        }
        // Thousands of idle connections would keep it otherwise.
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_gathered(context))?;
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        ready!(self.patiently(context, polled))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.gathers() {
            ready!(self.poll_write_gathered(context))?;
            let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
            return self.patiently(context, polled);
        }
        if self.gathered.len() >= GATHERED_MAX_BYTES {
            ready!(self.poll_write_gathered(context))?;
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(GATHERED_MAX_BYTES);
        }
        let before = self.gathered.len();
        for slice in slices {
            let room = GATHERED_MAX_BYTES - self.gathered.len();
            self.gathered.extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        self.unflushed = true;
        Poll::Ready(Ok(self.gathered.len() - before))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SharedIo<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        if io.ahead.is_empty() {
            let read = ready!(Pin::new(&mut io.socket).poll_read(context, into));
            return Poll::Ready(io.noted(read));
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
        if io.gathers() {
            // h2 flushes each frame; `poll_gathered` follows.
            io.unflushed = true;
            return Poll::Ready(Ok(()));
        }
        io.poll_out(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut io = self.lock();
        ready!(io.poll_write_gathered(context))?;
        let polled = Pin::new(&mut io.socket).poll_shutdown(context);
        io.patiently(context, polled)
    }
}

#[cfg(test)]
mod tests;
