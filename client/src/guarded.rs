//! Answers of a server without what the gRPC library would trip over.
//!
//! tonic panics on a `grpc-status-details-bin` that is not base64 (grpc/grpc-rust, pull request 2618), and the conversion of a
//! wait in it on numbers out of range: whoever answers could end the process. Invariant: such a value reaches them neither in
//! headers nor in trailers; the status itself does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic_types::pb;

use super::shown_certificate::{PresentedCertificate, TransportError};

const DETAILS: &str = "grpc-status-details-bin";
/// The longest there is (`google/protobuf/duration.proto`).
const DURATION_MAX_SECONDS: u64 = 315_576_000_000;

/// Decodes base64 as tonic does: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A channel whose answers were looked through.
#[derive(Debug, Clone)]
pub struct GuardedChannel {
    channel: Channel,
    shown: PresentedCertificate,
    answers: Arc<AtomicU64>,
}

impl GuardedChannel {
    pub(super) fn new(channel: Channel, shown: PresentedCertificate, answers: Arc<AtomicU64>) -> Self {
        Self { channel, shown, answers }
    }
}

impl Service<Request<Body>> for GuardedChannel {
    type Response = Response<Body>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, context).map_err(|error| TransportError::new(error, &self.shown))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (answer, shown) = (Service::call(&mut self.channel, request), self.shown.clone());
        let answers = Arc::clone(&self.answers);
        Box::pin(async move {
            let mut answer = answer.await.map_err(|error| TransportError::new(error, &shown))?;
            shown.answered();
            answers.fetch_add(1, Ordering::Relaxed);
            drop_unreadable(answer.headers_mut());
            Ok(answer.map(|inner| Body::new(Trailed(inner))))
        })
    }
}

/// A body whose trailers are looked through.
struct Trailed(Body);

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.0).poll_frame(context);
        polled.map_ok(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                drop_unreadable(trailers);
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

fn drop_unreadable(headers: &mut HeaderMap) {
    if !headers.get_all(DETAILS).iter().all(|value| is_readable(value.as_bytes())) {
        headers.remove(DETAILS);
    }
}

fn is_readable(details: &[u8]) -> bool {
    let Ok(details) = BASE64.decode(details) else { return false };
    let Ok(status) = pb::Status::decode(details.as_slice()) else { return false };
    let waits = status.details.iter().filter(|detail| detail.type_url.ends_with("RetryInfo"));
    waits
        .filter_map(|detail| pb::RetryInfo::decode(detail.value.as_slice()).ok()?.retry_delay)
        .all(|wait| wait.seconds.unsigned_abs() <= DURATION_MAX_SECONDS && wait.nanos.unsigned_abs() < 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_details_that_can_not_be_read_are_dropped() {
        let waits = |seconds, nanos| {
            let retry_delay = Some(prost_types::Duration { seconds, nanos });
            let value = pb::RetryInfo { retry_delay }.encode_to_vec();
            let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
            let details = vec![prost_types::Any { type_url, value }];
            BASE64.encode(pb::Status { details, ..Default::default() }.encode_to_vec())
        };
        for (value, is_kept) in [
            (String::new(), true),
            ("CA4=".to_owned(), true),
            ("CA4".to_owned(), true),
            ("%".to_owned(), false),
            ("A".to_owned(), false),
            ("/////w".to_owned(), false),
            (waits(3, 0), true),
            (waits(-3, -5), true),
            (waits(i64::MIN, 0), false),
            (waits(0, i32::MIN), false),
        ] {
            let mut headers = HeaderMap::from_iter([(http::header::AGE, HeaderValue::from_static("1"))]);
            headers.insert(DETAILS, HeaderValue::from_str(&value).expect("a value"));
            drop_unreadable(&mut headers);
            assert_eq!((headers.contains_key(DETAILS), headers.len()), (is_kept, 1 + usize::from(is_kept)), "{value}");
            headers.insert("grpc-status", HeaderValue::from_static("14"));
            let status = Status::from_header_map(&headers).expect("tonic reads the rest");
            let _ = crate::ClientError::from(status);
        }
    }
}
