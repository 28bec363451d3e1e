//! Limits the calls that need no credential. Of reflection and of watches of a health status there is a limit for each peer and one for all
//! peers together, and streams of reflection have a timeout. Of health checks there is one for each connection.
//!
//! Invariant: one peer has no more streams than are left for others, and keeps no health check of another connection from its answer.
//! Without this layer each unauthenticated connection could keep as many open as a connection has streams, for as long as it lives. It
//! comes before the body of a request is read, so that calls which are never sent completely count too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{Either, Ready, ready};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::api::status::status;
use crate::domain::{Error, Reason};
use crate::transport::{ConnectionHandle, network_of, status_trailers};

/// How long a stream of reflection may be open. Tools send a few requests and close it.
const REFLECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How much longer its requests are read, so that the answer can contain the reason for its end.
const REQUEST_GRACE: Duration = Duration::from_secs(1);
/// How many streams of reflection one peer may have at once.
const REFLECTIONS_PER_PEER_MAX: usize = 8;
/// How many streams of reflection there may be at once.
const REFLECTIONS_MAX: usize = 1_024;
/// How many watches of a health status one peer may have at once: a cluster behind one address has one for each of its clients. They
/// live as long as their connection, as load balancers need it.
const HEALTH_WATCHES_PER_PEER_MAX: usize = 2_048;
/// How many watches of a health status there may be at once, some kilobytes each.
const HEALTH_WATCHES_MAX: usize = 4_096;
/// How many health checks one connection may have at once. One that is never sent completely is kept for 10 s, with some kilobytes.
const HEALTH_CHECKS_PER_CONNECTION_MAX: usize = 4;

/// The methods that need no credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OpenMethod {
    Reflection,
    HealthWatch,
    HealthCheck,
}

/// Who has slots, as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum SlotHolder {
    Peer(IpAddr),
    Connection(u64),
}

impl OpenMethod {
    fn of_path(path: &str) -> Option<Self> {
        if path.starts_with("/grpc.reflection.") {
            return Some(Self::Reflection);
        }
        match path {
            "/grpc.health.v1.Health/Watch" => Some(Self::HealthWatch),
            "/grpc.health.v1.Health/Check" => Some(Self::HealthCheck),
            _ => None,
        }
    }

    /// Returns to whom the calls of a connection count.
    fn holder(self, connection: &ConnectionHandle) -> SlotHolder {
        if self == Self::HealthCheck {
            return SlotHolder::Connection(connection.number());
        }
        let peer = connection.peer().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        SlotHolder::Peer(network_of(peer))
    }

    /// Returns how many calls one of them may have open, and all together.
    fn bounds(self) -> (usize, usize) {
        match self {
            Self::Reflection => (REFLECTIONS_PER_PEER_MAX, REFLECTIONS_MAX),
            Self::HealthWatch => (HEALTH_WATCHES_PER_PEER_MAX, HEALTH_WATCHES_MAX),
            Self::HealthCheck => (HEALTH_CHECKS_PER_CONNECTION_MAX, usize::MAX),
        }
    }

    fn timeout(self) -> Option<Duration> {
        match self {
            Self::Reflection => Some(REFLECTION_TIMEOUT),
            Self::HealthWatch | Self::HealthCheck => None,
        }
    }
}

/// Bounds the calls that need no credential.
#[derive(Debug, Clone, Default)]
pub struct OpenStreamsLayer {
    open: Arc<Mutex<OpenCounts>>,
}

/// How many calls are open.
#[derive(Debug, Default)]
struct OpenCounts {
    all: HashMap<OpenMethod, usize>,
    by_holder: HashMap<(OpenMethod, SlotHolder), usize>,
}

impl OpenStreamsLayer {
    fn lock(&self) -> MutexGuard<'_, OpenCounts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, method: OpenMethod, holder: SlotHolder) -> Result<StreamSlot, Error> {
        let (key, (own_max, all_max)) = ((method, holder), method.bounds());
        let mut open = self.lock();
        let OpenCounts { all, by_holder } = &mut *open;
        let (all, own) = (all.entry(method).or_default(), by_holder.get(&key).copied().unwrap_or_default());
        let max = own_max.min(all_max.saturating_sub(*all));
        if own >= max {
            let whose = match holder {
                SlotHolder::Peer(_) => "peer",
                SlotHolder::Connection(_) => "connection",
            };
            let message = format!("this {whose} has {own} streams of this kind open, which is its limit now");
            return Err(Error::new(Reason::TooManyStreams, message).with("limit_streams", own));
        }
        *all += 1;
        by_holder.insert(key, own + 1);
        drop(open);
        Ok(StreamSlot { layer: self.clone(), key })
    }
}

/// An open stream; dropped with its answer.
#[derive(Debug)]
struct StreamSlot {
    layer: OpenStreamsLayer,
    key: (OpenMethod, SlotHolder),
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.layer.lock();
        if let Some(all) = open.all.get_mut(&self.key.0) {
            *all -= 1;
        }
        if let Some(own) = open.by_holder.get_mut(&self.key) {
            *own -= 1;
            if *own == 0 {
                open.by_holder.remove(&self.key);
            }
        }
    }
}

impl<S> Layer<S> for OpenStreamsLayer {
    type Service = OpenStreams<S>;

    fn layer(&self, inner: S) -> Self::Service {
        OpenStreams { inner, layer: self.clone() }
    }
}

/// Bounds the calls of a service that need no credential.
#[derive(Debug, Clone)]
pub struct OpenStreams<S> {
    inner: S,
    layer: OpenStreamsLayer,
}

type BoundBody<E> = Box<dyn FnOnce(Result<Response<Body>, E>) -> Result<Response<Body>, E> + Send>;
type BoundedFuture<F, E> = futures_util::future::Map<F, BoundBody<E>>;

impl<S> Service<Request<Body>> for OpenStreams<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Either<S::Future, BoundedFuture<S::Future, S::Error>>, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(method) = OpenMethod::of_path(request.uri().path()) else {
            return Either::Left(Either::Left(self.inner.call(request)));
        };
        let connection = request.extensions().get::<ConnectionHandle>().cloned().unwrap_or_default();
        let slot = match self.layer.admit(method, method.holder(&connection)) {
            Ok(slot) => slot,
            Err(error) => return Either::Right(ready(Ok(status(error).into_http()))),
        };
        let timeout = method.timeout();
        let request = request.map(|inner| bounded(inner, timeout.map(|timeout| timeout + REQUEST_GRACE), None));
        let bound: BoundBody<S::Error> =
            Box::new(move |answer| Ok(answer?.map(|inner| bounded(inner, timeout, Some(slot)))));
        Either::Left(Either::Right(self.inner.call(request).map(bound)))
    }
}

/// A body that ends at its timeout, and holds a slot until it is dropped.
struct TimedBody {
    inner: Body,
    end: Option<Pin<Box<Sleep>>>,
    is_answer: bool,
    has_ended: bool,
    _slot: Option<StreamSlot>,
}

fn bounded(inner: Body, timeout: Option<Duration>, slot: Option<StreamSlot>) -> Body {
    let end = timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
    Body::new(TimedBody { inner, end, is_answer: slot.is_some(), has_ended: false, _slot: slot })
}

fn timed_out() -> Status {
    let seconds = REFLECTION_TIMEOUT.as_secs();
    let message = format!("a stream of reflection may be open for {seconds} s");
    status(Error::new(Reason::RequestTimeout, message).with("limit_seconds", seconds))
}

impl http_body::Body for TimedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.end.as_mut().is_some_and(|end| end.poll_unpin(context).is_ready()) {
            self.has_ended = true;
            // In a request the handler that reads it gets the error, in an answer the client.
            let ended =
                if self.is_answer { status_trailers(&timed_out()).map(Frame::trailers) } else { Err(timed_out()) };
            return Poll::Ready(Some(ended));
        }
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_bound_and_gets_its_slots_back() {
        let layer = OpenStreamsLayer::default();
        let [one, other] = [1, 2].map(|host| SlotHolder::Peer(IpAddr::from([10, 0, 0, host])));
        let mut slots: Vec<StreamSlot> =
            (0..REFLECTIONS_PER_PEER_MAX).map(|_| layer.admit(OpenMethod::Reflection, one).expect("room")).collect();
        let refused = layer.admit(OpenMethod::Reflection, one).expect_err("no room");
        assert_eq!(refused.reason, Reason::TooManyStreams);
        slots.push(layer.admit(OpenMethod::Reflection, other).expect("room for others"));
        slots.push(layer.admit(OpenMethod::HealthWatch, one).expect("room for another method"));
        drop(slots);
        assert!(layer.lock().by_holder.is_empty());
    }

    #[test]
    fn however_many_peers_take_their_share_the_next_has_one() {
        let layer = OpenStreamsLayer::default();
        let mut slots = Vec::new();
        let mut shares = Vec::new();
        for peer in 1..=5 {
            let before = slots.len();
            while let Ok(slot) = layer.admit(OpenMethod::HealthWatch, SlotHolder::Peer(IpAddr::from([10, 0, 0, peer])))
            {
                slots.push(slot);
            }
            shares.push(slots.len() - before);
        }
        assert_eq!(shares, [2_048, 1_024, 512, 256, 128]);
        drop(slots);
        assert_eq!(layer.lock().all[&OpenMethod::HealthWatch], 0);
    }

    /// Given an endless answer to an endless request, the stream ends with the reason.
    #[tokio::test(start_paused = true)]
    async fn a_stream_of_reflection_ends_and_says_so() {
        struct EndlessBody;
        impl http_body::Body for EndlessBody {
            type Data = Bytes;
            type Error = Status;

            fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
                Poll::Pending
            }
        }
        let layer = OpenStreamsLayer::default();
        let endless = tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::new(EndlessBody)))
        });
        let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let request = Request::builder().uri(path).body(Body::new(EndlessBody)).expect("a request");
        let began = tokio::time::Instant::now();
        let mut answer = layer.layer(endless).call(request).await.expect("an answer").into_body();
        let last = std::future::poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut answer), context)).await;
        let trailers = last.expect("a frame").expect("trailers").into_trailers().expect("trailers");
        assert_eq!((trailers["grpc-status"].as_bytes(), began.elapsed()), (&b"4"[..], REFLECTION_TIMEOUT));
        drop(answer);
        assert!(layer.lock().by_holder.is_empty());
    }
}
