//! A completely received body, in chunks that are allocated here. Each chunk is freed as soon as it was read.
//!
//! The frames of HTTP/2 are copied and not kept, because a frame of one byte would keep a whole buffer in memory.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tonic::Status;

/// Number of bytes that are allocated, and freed, at once.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;

/// A completely received body.
#[derive(Debug, Default)]
pub(super) struct WholeBody {
    full: VecDeque<Bytes>,
    last: BytesMut,
    length: usize,
}

impl WholeBody {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Inserts bytes before the first one.
    pub(super) fn prepend(&mut self, data: &[u8]) {
        self.length += data.len();
        self.full.push_front(Bytes::copy_from_slice(data));
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        self.length += data.len();
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(CHUNK_BYTES - self.last.len()));
            self.last.extend_from_slice(now);
            data = later;
            if self.last.len() == CHUNK_BYTES {
                self.full.push_back(std::mem::take(&mut self.last).freeze());
            }
        }
    }
}

/// Frees each chunk once it was read.
impl Read for WholeBody {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for WholeBody {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.full.front().map_or(&self.last[..], |first| &first[..]))
    }

    fn consume(&mut self, count: usize) {
        self.length -= count;
        let Some(first) = self.full.front_mut() else { return self.last.advance(count) };
        first.advance(count);
        if first.is_empty() {
            self.full.pop_front();
        }
    }
}

impl http_body::Body for WholeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = self.full.pop_front().unwrap_or_else(|| std::mem::take(&mut self.last).freeze());
        self.length -= next.len();
        Poll::Ready((!next.is_empty()).then(|| Ok(Frame::data(next))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.length).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    #[test]
    fn what_was_put_in_comes_out_in_order() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3 * CHUNK_BYTES + 7).collect();
        for piece in [1_000, CHUNK_BYTES, 2 * CHUNK_BYTES + 1] {
            let mut body = WholeBody::default();
            bytes.chunks(piece).for_each(|data| body.push(data));
            assert_eq!(body.len(), bytes.len());
            let mut out = Vec::new();
            let mut context = Context::from_waker(std::task::Waker::noop());
            while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
                let data = frame.into_data().expect("data");
                assert!(data.len() <= CHUNK_BYTES);
                out.extend_from_slice(&data);
            }
            assert!(out == bytes && body.is_end_stream(), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_was_put_in_is_read_in_order() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(2 * CHUNK_BYTES + 7).collect();
        let mut body = WholeBody::default();
        body.push(&bytes);
        body.prepend(b"first");
        let mut out = Vec::new();
        body.read_to_end(&mut out).expect("bytes");
        assert!(out == [b"first", &bytes[..]].concat());
        assert_eq!((body.len(), body.full.len()), (0, 0));
    }
}
