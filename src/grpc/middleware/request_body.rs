//! Reads the bodies of requests, and limits the size of one, its time, and the memory of all of them together.
//!
//! A body is read before the generated service decodes it. So a call that is never sent completely ends, memory is reserved before it is
//! used, and a body that stalls is ended when others wait for its memory. Only calls of admitted callers get here ([`super::admit`]).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::in_flight::{InFlight, Reserved};
use super::inflate::{inflate, inflated_max_bytes, inflating_bytes, take_gzip};
use super::message_prefix::{MESSAGE_PREFIX_BYTES, MessagePrefix, not_one_message, size, too_large};
use super::ready_service::take_ready;
use super::whole_body::{CHUNK_BYTES, WholeBody};
use crate::api::status::status;
use crate::api::wire_scan::worst_case_bytes;
use crate::domain::limits::{
    GUARDRAILS_MAX_BYTES, IMPORT_REQUEST_MAX_BYTES, REQUEST_DECODED_EXTRA_MAX_BYTES, REQUEST_MAX_BYTES,
    SCHEMA_MAX_BYTES,
};
use crate::domain::principal::Caller;
use crate::domain::{Error, Reason, Result};

/// The packages in which every method takes one message. Reflection takes several, and has its own limits.
const ONE_MESSAGE: [&str; 2] = ["/policyhub.", HEALTH_PACKAGE];
/// The package that needs no credential, so that its callers have no shares. Its requests are so small that no memory is reserved for
/// them, and they never wait.
const HEALTH_PACKAGE: &str = "/grpc.health.v1.";
/// The largest request of that package: the name of a service.
const HEALTH_REQUEST_MAX_BYTES: usize = 1024;
/// Timeout of the body of a request. Longer: incomplete requests are held longer. Shorter: slow links fail.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of the body for a method that takes megabytes.
const BULK_BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body that advanced by less than this in that time is ended once others wait for its memory. Longer: they wait longer. Shorter: slow
/// links fail when the server is full.
const STALL_TIMEOUT: Duration = Duration::from_secs(1);
const STALL_MIN_BYTES: usize = 16 * 1024;

/// Reads the bodies of requests.
#[derive(Debug, Clone)]
pub struct RequestBodyLayer {
    content_max_bytes: usize,
    in_flight: InFlight,
}

impl RequestBodyLayer {
    /// Creates a layer for a server that takes contents of up to `content_max_bytes`, with a budget for all requests.
    #[must_use]
    pub fn new(content_max_bytes: usize, in_flight: InFlight) -> Self {
        Self { content_max_bytes, in_flight }
    }

    /// Returns the limits of a method; none for methods that take several messages.
    fn bounds(&self, path: &str) -> Option<BodyBounds> {
        if !ONE_MESSAGE.iter().any(|package| path.starts_with(package)) {
            return None;
        }
        if path.starts_with(HEALTH_PACKAGE) {
            return Some(BodyBounds { max_bytes: HEALTH_REQUEST_MAX_BYTES, timeout: BODY_TIMEOUT, is_reserved: false });
        }
        Some(match path {
            "/policyhub.v1.PolicyService/Draft" => bulk(self.content_max_bytes + REQUEST_MAX_BYTES),
            "/policyhub.v1.PolicyService/CreatePolicy" | "/policyhub.v1.PolicyService/UpdatePolicy" => {
                small(SCHEMA_MAX_BYTES + REQUEST_MAX_BYTES)
            }
            "/policyhub.v1.AdminService/UpdateGuardrails" => small(GUARDRAILS_MAX_BYTES + REQUEST_MAX_BYTES),
            "/policyhub.v1.AdminService/ImportNamespace" => bulk(IMPORT_REQUEST_MAX_BYTES),
            _ => small(REQUEST_MAX_BYTES),
        })
    }
}

/// The limits of the body of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BodyBounds {
    /// The maximal size of its message.
    max_bytes: usize,
    timeout: Duration,
    /// Whether memory is reserved for the body.
    is_reserved: bool,
}

fn small(max_bytes: usize) -> BodyBounds {
    BodyBounds { max_bytes, timeout: BODY_TIMEOUT, is_reserved: true }
}

fn bulk(max_bytes: usize) -> BodyBounds {
    BodyBounds { max_bytes, timeout: BULK_BODY_TIMEOUT, is_reserved: true }
}

impl<S> Layer<S> for RequestBodyLayer {
    type Service = RequestBody<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestBody { inner, layer: self.clone() }
    }
}

/// Reads the bodies of the requests of a service.
#[derive(Debug, Clone)]
pub struct RequestBody<S> {
    inner: S,
    layer: RequestBodyLayer,
}

impl<S, R> Service<Request<Body>> for RequestBody<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(bounds) = self.layer.bounds(request.uri().path()) else {
            return Box::pin(self.inner.call(request));
        };
        let mut inner = take_ready(&mut self.inner);
        let in_flight = self.layer.in_flight.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let is_gzip = take_gzip(&mut parts.headers);
            let caller = parts.extensions.get::<Caller>().map(|caller| caller.principal.actor()).unwrap_or_default();
            let (path, in_flight) = (parts.uri.path(), &in_flight);
            let reader = BodyReader { path, caller: &caller, bounds, is_gzip, in_flight, reserved: None };
            match tokio::time::timeout(bounds.timeout, reader.read(body)).await {
                Ok(Ok((whole, reserved))) => {
                    let answer = inner.call(Request::from_parts(parts, Body::new(whole))).await;
                    drop(reserved);
                    answer
                }
                Ok(Err(error)) => Ok(status(error).into_http()),
                Err(_) => Ok(status(timed_out(bounds.timeout)).into_http()),
            }
        })
    }
}

fn timed_out(timeout: Duration) -> Error {
    let seconds = timeout.as_secs();
    let message = format!("the request was not sent completely within {seconds} s");
    Error::new(Reason::RequestTimeout, message).with("limit_seconds", seconds)
}

/// Reads one body.
struct BodyReader<'a> {
    path: &'a str,
    caller: &'a str,
    bounds: BodyBounds,
    /// Whether the message may be compressed.
    is_gzip: bool,
    in_flight: &'a InFlight,
    reserved: Option<Reserved>,
}

impl BodyReader<'_> {
    /// Reads a body to its end. A part of the caller's share is claimed once the claimed length of the message is known. Memory is
    /// reserved for the received bytes, and for the decoded message once it is complete.
    async fn read(mut self, mut body: Body) -> Result<(WholeBody, Option<Reserved>)> {
        let (mut whole, mut prefix) = (WholeBody::default(), MessagePrefix::default());
        let mut max_bytes = MESSAGE_PREFIX_BYTES + self.bounds.max_bytes;
        let mut pace = Pace::new();
        while let Some(frame) = self.next(&mut body, &mut pace).await? {
            // Trailers of a request have no meaning in gRPC.
            let Ok(data) = frame.into_data() else { continue };
            if let Some(claimed) = prefix.push(&data).filter(|_| self.reserved.is_none()) {
                if claimed > self.bounds.max_bytes {
                    return Err(too_large(self.bounds.max_bytes));
                }
                // The decoder refuses bytes after the message; until then they must not exceed this.
                max_bytes = MESSAGE_PREFIX_BYTES + self.bounds.max_bytes.min(claimed + REQUEST_MAX_BYTES);
                if self.bounds.is_reserved {
                    let most = self.most_bytes(claimed, self.is_gzip && prefix.is_compressed());
                    self.reserved = Some(self.in_flight.claim(self.caller, most).await?);
                }
            }
            if whole.len() + data.len() > max_bytes {
                return Err(too_large(self.bounds.max_bytes));
            }
            if let Some(reserved) = &mut self.reserved {
                // Reserve whole chunks, as they are allocated.
                reserved.grow_to(size((whole.len() + data.len()).next_multiple_of(CHUNK_BYTES))).await?;
            }
            pace.received(data.len());
            whole.push(&data);
        }
        let is_compressed = self.is_gzip && prefix.is_compressed();
        if is_compressed {
            let claimed = prefix.claimed_length().ok_or_else(not_one_message)?;
            whole = inflate(whole, claimed, self.bounds.max_bytes, self.reserved.as_mut()).await?;
        }
        let worst_case = self.worst_case(whole.len());
        if let Some(reserved) = &mut self.reserved {
            if is_compressed {
                // Now the inflated size is known, and the rest of the claim is released.
                reserved.shrink_to(worst_case);
            }
            reserved.grow_to(worst_case).await?;
        }
        Ok((whole, self.reserved))
    }

    /// Returns the maximal memory of a request whose prefix claims `claimed` bytes.
    fn most_bytes(&self, claimed: usize, is_compressed: bool) -> u64 {
        if !is_compressed {
            return self.worst_case(claimed);
        }
        // The compressed bytes are freed before the message is decoded.
        let inflated = inflated_max_bytes(claimed, self.bounds.max_bytes);
        self.worst_case(MESSAGE_PREFIX_BYTES + inflated).max(inflating_bytes(claimed, inflated))
    }

    /// Waits for the next frame. Ends a body that stalls, once others wait for its memory.
    async fn next(&self, body: &mut Body, pace: &mut Pace) -> Result<Option<Frame<Bytes>>> {
        let next = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let stalled = async {
            pace.stalled().await;
            match &self.reserved {
                Some(_) => self.in_flight.contended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = next => frame.transpose().map_err(|error| broken(&error)),
            () = stalled => Err(self.in_flight.preempted()),
        }
    }

    fn worst_case(&self, length: usize) -> u64 {
        let extra = if length == 0 { 0 } else { REQUEST_DECODED_EXTRA_MAX_BYTES };
        worst_case_bytes(self.path, size(length), extra)
    }
}

/// Notices a body that stalls.
struct Pace {
    /// Bytes since the last restart of the timer.
    bytes: usize,
    stalled: Pin<Box<Sleep>>,
}

impl Pace {
    fn new() -> Self {
        Self { bytes: 0, stalled: Box::pin(tokio::time::sleep(STALL_TIMEOUT)) }
    }

    fn received(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= STALL_MIN_BYTES {
            *self = Self::new();
        }
    }

    /// Waits until the body has stalled.
    async fn stalled(&mut self) {
        self.stalled.as_mut().await;
    }
}

/// Returns the error for a stream that was reset. Usually the client is gone and nobody reads it.
fn broken(error: &Status) -> Error {
    Error::new(Reason::InvalidArgument, format!("the request ended early: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::grpc::middleware::in_flight::IN_FLIGHT_MIN_BYTES;

    /// A body that starts and never ends.
    struct HalfBody(Option<Bytes>);

    impl http_body::Body for HalfBody {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
        }
    }

    #[test]
    fn each_method_has_its_bounds() {
        let layer = RequestBodyLayer::new(1_000, InFlight::of_requests(IN_FLIGHT_MIN_BYTES));
        let bounds = |path: &str| layer.bounds(path).map(|bounds| (bounds.max_bytes, bounds.timeout.as_secs()));
        assert_eq!(bounds("/policyhub.v1.PolicyService/Draft"), Some((1_000 + REQUEST_MAX_BYTES, 60)));
        assert_eq!(bounds("/policyhub.v1.AdminService/ImportNamespace"), Some((IMPORT_REQUEST_MAX_BYTES, 60)));
        for path in ["/policyhub.v1.PolicyService/CreatePolicy", "/policyhub.v1.PolicyService/UpdatePolicy"] {
            assert_eq!(bounds(path), Some((SCHEMA_MAX_BYTES + REQUEST_MAX_BYTES, 10)));
        }
        let guardrails = bounds("/policyhub.v1.AdminService/UpdateGuardrails");
        assert_eq!(guardrails, Some((GUARDRAILS_MAX_BYTES + REQUEST_MAX_BYTES, 10)));
        for path in ["/policyhub.v1.PolicyService/Publish", "/policyhub.v9"] {
            assert_eq!(bounds(path), Some((REQUEST_MAX_BYTES, 10)));
        }
        assert_eq!(bounds("/grpc.health.v1.Health/Check"), Some((1024, 10)));
        assert_eq!(bounds("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), None);
    }

    /// Given a client that stops in the middle, it gets an answer at the timeout, and its reserved memory is free again.
    #[tokio::test(start_paused = true)]
    async fn an_incomplete_body_is_answered() {
        let in_flight = InFlight::of_requests(IN_FLIGHT_MIN_BYTES);
        let never = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let mut service = RequestBodyLayer::new(1_000, in_flight.clone()).layer(never);
        for (path, timeout) in [
            ("/policyhub.v1.PolicyService/Stage", BODY_TIMEOUT),
            ("/policyhub.v1.PolicyService/Draft", BULK_BODY_TIMEOUT),
            ("/policyhub.v1.AdminService/ImportNamespace", BULK_BODY_TIMEOUT),
            ("/grpc.health.v1.Health/Check", BODY_TIMEOUT),
        ] {
            let body = Body::new(HalfBody(Some(Bytes::from_static(&[0, 0, 0, 0, 9, 1]))));
            let request = Request::builder().uri(path).body(body).expect("a request");
            let began = tokio::time::Instant::now();
            let answer = service.call(request).await.expect("an answer");
            assert_eq!((answer.headers()["grpc-status"].as_bytes(), began.elapsed()), (&b"4"[..], timeout), "{path}");
            assert_eq!(in_flight.free_bytes(), IN_FLIGHT_MIN_BYTES);
        }
    }

    /// Given a body that stopped, it keeps its memory until others wait for it.
    #[tokio::test(start_paused = true)]
    async fn a_stalled_body_is_ended_for_others() {
        let in_flight = InFlight::of_requests(IN_FLIGHT_MIN_BYTES);
        let never = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let mut service = RequestBodyLayer::new(1_000, in_flight.clone()).layer(never);
        let body = Body::new(HalfBody(Some(Bytes::from_static(&[0, 0, 64, 0, 0, 1]))));
        let request = Request::builder().uri("/policyhub.v1.AdminService/ImportNamespace").body(body);
        let mut answer = Box::pin(service.call(request.expect("a request")));
        assert!(tokio::time::timeout(10 * STALL_TIMEOUT, &mut answer).await.is_err(), "nobody waits");
        assert_eq!(in_flight.counts().used_bytes, 64 * 1024, "for what was received, and not for what is announced");
        let _held = in_flight.reserve("a", 13 * 1024 * 1024).await;
        let other = in_flight.reserve("b", 12 * 1024 * 1024);
        let (answer, _) = tokio::join!(answer, async { tokio::time::timeout(STALL_TIMEOUT, other).await });
        assert_eq!(answer.expect("an answer").headers()["grpc-status"], "8");
        assert_eq!((in_flight.counts().used_bytes, in_flight.counts().given_up), (13 * 1024 * 1024, 1));
    }
}
