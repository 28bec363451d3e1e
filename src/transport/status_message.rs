//! Encodes `grpc-message` as specified (gRPC over HTTP/2, "Responses", Percent-Encoded): printable ASCII is not escaped, except for the
//! percent sign.
//!
//! tonic escapes more, and some clients show the escapes to their users: `%3F` for a question mark.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::Map;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

const NAME: &str = "grpc-message";

/// Rewrites the messages of statuses, in the headers and in the trailers of every answer.
#[derive(Debug, Clone, Copy)]
pub struct PlainStatusMessageLayer;

impl<S> Layer<S> for PlainStatusMessageLayer {
    type Service = PlainStatusMessage<S>;

    fn layer(&self, inner: S) -> Self::Service {
        PlainStatusMessage { inner }
    }
}

/// Rewrites the messages of statuses that a service returns.
#[derive(Debug, Clone)]
pub struct PlainStatusMessage<S> {
    inner: S,
}

type Rewrite<B, E> = fn(Result<Response<B>, E>) -> Result<Response<PlainTrailers<B>>, E>;

impl<S, Q, B> Service<Request<Q>> for PlainStatusMessage<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = Response<PlainTrailers<B>>;
    type Error = S::Error;
    type Future = Map<S::Future, Rewrite<B, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        self.inner.call(request).map(|answer| {
            let mut response = answer?;
            rewrite(response.headers_mut());
            Ok(response.map(PlainTrailers))
        })
    }
}

/// Rewrites the message in headers or trailers, if there is one.
fn rewrite(headers: &mut HeaderMap) {
    let Some(given) = headers.get_mut(NAME) else { return };
    if let Ok(written) = HeaderValue::from_bytes(&unescape_printable(given.as_bytes())) {
        *given = written;
    }
}

/// Removes the escapes of printable ASCII. A space at either end stays escaped: a field value can't begin or end with it
/// (RFC 9113 §8.2.1).
fn unescape_printable(escaped: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&byte, after)) = rest.split_first() {
        let (next, after) = match escape(rest) {
            Some((plain, after)) if is_plain(plain, written.is_empty() || after.is_empty()) => (plain, after),
            _ => (byte, after),
        };
        written.push(next);
        rest = after;
    }
    written
}

fn is_plain(byte: u8, is_at_an_end: bool) -> bool {
    (b' '..=b'~').contains(&byte) && byte != b'%' && !(byte == b' ' && is_at_an_end)
}

/// Returns the byte of the escape that a text begins with, and the text after it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let ([b'%', high, low], after) = text.split_first_chunk()? else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, after))
}

/// A body in whose trailers the message of the status is rewritten.
#[derive(Debug)]
pub struct PlainTrailers<B>(B);

impl<B: Body + Unpin> Body for PlainTrailers<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.0).poll_frame(context).map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                rewrite(trailers);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    fn written(message: &str) -> String {
        let mut headers = HeaderMap::new();
        Status::internal(message).add_header(&mut headers).expect("a status");
        rewrite(&mut headers);
        let read = Status::from_header_map(&headers).expect("a status");
        assert_eq!(read.message(), message);
        headers[NAME].to_str().expect("ASCII").to_owned()
    }

    /// Given the table of the specification, 0x20 to 0x24 and 0x26 to 0x7E are not escaped, all others are.
    #[test]
    fn printable_ascii_is_not_escaped() {
        let printable: String = (' '..='~').filter(|each| *each != '%').collect();
        assert_eq!(written(&format!("-{printable}-")), format!("-{printable}-"));
        for (message, expected) in [
            ("must match ^[a-z]([a-z0-9])?$", "must match ^[a-z]([a-z0-9])?$"),
            ("100% of it", "100%25 of it"),
            ("%3F", "%253F"),
            ("%", "%25"),
            ("a\nb\tc\u{7f}", "a%0Ab%09c%7F"),
            ("é…", "%C3%A9%E2%80%A6"),
            (" at both ends ", "%20at both ends%20"),
            (" ", "%20"),
        ] {
            assert_eq!(written(message), expected);
        }
    }

    /// A stream that ends with a status.
    struct StatusStream(Option<HeaderMap>);

    impl Body for StatusStream {
        type Data = bytes::Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    #[test]
    fn trailers_are_rewritten() {
        let mut trailers = HeaderMap::new();
        Status::not_found("is it <there>? 50%").add_header(&mut trailers).expect("a status");
        assert_eq!(trailers[NAME], "is%20it%20%3Cthere%3E%3F%2050%25");
        let mut body = PlainTrailers(StatusStream(Some(trailers)));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else { panic!("no end") };
        assert_eq!(frame.into_trailers().expect("trailers")[NAME], "is it <there>? 50%25");
    }

    #[test]
    fn what_is_no_escape_stays() {
        for text in ["%", "%4", "%zz", "a%", "%G1b"] {
            assert_eq!(unescape_printable(text.as_bytes()), text.as_bytes());
        }
    }
}
