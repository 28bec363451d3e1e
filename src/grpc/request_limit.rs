//! How large a request may be, by RPC: bytes over it are not kept, and the call is refused while they still arrive.
//!
//! tonic knows one limit per service; this one is per path, and looks at what a message claims and at what is on the wire.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::api::status::status;
use crate::domain::limits::{IMPORT_REQUEST_MAX_BYTES, REQUEST_MAX_BYTES, SCHEMA_MAX_BYTES};
use crate::domain::{Error, Reason};

/// The packages whose requests are counted; every method in them takes one message.
const OURS: &str = "/policyhub.";
/// What gRPC puts before a message.
const MESSAGE_PREFIX_BYTES: usize = 5;

/// Bounds request messages.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimitLayer {
    content_max_bytes: usize,
}

impl RequestLimitLayer {
    /// A layer for a server that takes contents of this size.
    #[must_use]
    pub fn new(content_max_bytes: usize) -> Self {
        Self { content_max_bytes }
    }

    /// Largest message of a method; none for methods that are not ours and have a limit of their service.
    fn limit(self, path: &str) -> Option<usize> {
        Some(match path.strip_prefix(OURS)? {
            "v1.PolicyService/Draft" => self.content_max_bytes + REQUEST_MAX_BYTES,
            "v1.PolicyService/CreatePolicy" | "v1.PolicyService/UpdatePolicy" => SCHEMA_MAX_BYTES + REQUEST_MAX_BYTES,
            "v1.AdminService/ImportNamespace" => IMPORT_REQUEST_MAX_BYTES,
            _ => REQUEST_MAX_BYTES,
        })
    }
}

impl<S> Layer<S> for RequestLimitLayer {
    type Service = RequestLimit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestLimit { inner, layer: *self }
    }
}

/// The service behind the layer.
#[derive(Debug, Clone)]
pub struct RequestLimit<S> {
    inner: S,
    layer: RequestLimitLayer,
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for RequestLimit<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = self.layer.limit(request.uri().path());
        self.inner.call(match limit {
            None => request,
            Some(limit) => {
                request.map(|inner| Body::new(Counted { inner, prefix: Prefix::default(), limit, taken: 0 }))
            }
        })
    }
}

struct Counted {
    inner: Body,
    prefix: Prefix,
    limit: usize,
    taken: usize,
}

/// What gRPC says of the message before it: a flag, and its length as four bytes.
#[derive(Default)]
struct Prefix {
    bytes: [u8; MESSAGE_PREFIX_BYTES],
    seen: usize,
}

impl Prefix {
    /// Takes the next bytes of the body; the length that the message claims, once all of the prefix is there. Room for as
    /// much as that is made before any of it came.
    fn claim(&mut self, data: &[u8]) -> usize {
        for (slot, byte) in self.bytes.iter_mut().skip(self.seen).zip(data) {
            *slot = *byte;
            self.seen += 1;
        }
        let [_, length @ ..] = self.bytes;
        let is_whole = self.seen == MESSAGE_PREFIX_BYTES;
        if is_whole { usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX) } else { 0 }
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.taken = self.taken.saturating_add(data.len());
            let claimed = self.prefix.claim(data);
            if claimed > self.limit || self.taken > self.limit.saturating_add(MESSAGE_PREFIX_BYTES) {
                let error = Error::new(Reason::MessageTooLarge, "the request message is over the limit of this method");
                return Poll::Ready(Some(Err(status(error))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_seen_however_its_bytes_come() {
        let bytes = [0, 0, 1, 4, 1, 7, 7];
        for cut in 0..bytes.len() {
            let (mut prefix, (first, second)) = (Prefix::default(), bytes.split_at(cut));
            assert_eq!(prefix.claim(first), if cut < MESSAGE_PREFIX_BYTES { 0 } else { 0x0001_0401 }, "{cut}");
            assert_eq!(prefix.claim(second), 0x0001_0401, "{cut}");
        }
    }

    #[test]
    fn each_method_has_its_limit() {
        let layer = RequestLimitLayer::new(1_000);
        assert_eq!(layer.limit("/policyhub.v1.PolicyService/Draft"), Some(1_000 + REQUEST_MAX_BYTES));
        for path in ["/policyhub.v1.PolicyService/CreatePolicy", "/policyhub.v1.PolicyService/UpdatePolicy"] {
            assert_eq!(layer.limit(path), Some(SCHEMA_MAX_BYTES + REQUEST_MAX_BYTES));
        }
        for path in ["/policyhub.v1.PolicyService/Publish", "/policyhub.v1.SyncService/WatchActive", "/policyhub.v9"] {
            assert_eq!(layer.limit(path), Some(REQUEST_MAX_BYTES));
        }
        assert_eq!(layer.limit("/grpc.health.v1.Health/Check"), None);
    }
}
