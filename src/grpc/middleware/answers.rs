//! Limits the memory of all answers together, and how long an answer may wait for its reader.
//!
//! Memory is reserved before a call is handled, for the largest answer of its method, and released once the last byte of its answer is on
//! the wire. A long read waits for its slot first, so that it holds no memory meanwhile. Streams have their own rules: a watch is a
//! cursor, not a queue (`grpc::watch`); a long-reading stream takes its slot here, and reserves memory for each of its messages
//! (`grpc::read`).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::in_flight::{InFlight, LARGEST_ANSWER_BYTES, Reserved};
use super::read_stream_slot::ReadStreamSlot;
use super::ready_service::take_ready;
use crate::api::status::status;
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::limits::{SCHEMA_MAX_BYTES, STATEMENT_MAX_BYTES};
use crate::domain::principal::Caller;
use crate::service::LongReads;
use crate::transport::{SLICE_MAX_BYTES, StreamProgress};

/// The largest answer whose trailers are sent with it. The trailers of a larger one wait until the rest is on the wire, so that a stalled
/// reader is noticed. Larger: more memory for each answer that nobody reads, for as long as its connection lives. Smaller: most answers
/// take one more write.
const UNWATCHED_MAX_BYTES: usize = 4 * 1024;
/// The largest answer with one policy, or with findings: its decoded and its encoded form.
pub(in crate::grpc) const POLICY_ANSWER_MAX_BYTES: u64 = 2 * (SCHEMA_MAX_BYTES as u64 + STATEMENT_MAX_BYTES as u64);
/// The largest answer of all other methods: the summary of an activation with its statement.
const SMALL_ANSWER_MAX_BYTES: u64 = 2 * STATEMENT_MAX_BYTES as u64;
/// Memory of a call that waits for minutes until subscribers have caught up. More is reserved when there is an answer.
const WAITING_CALL_BYTES: u64 = 16 * 1024;

/// Returns how much is reserved before a call is handled; none for streams, which reserve for each message.
fn largest_answer_bytes(rpc: Rpc) -> Option<u64> {
    Some(match rpc {
        Rpc::WatchActive | Rpc::VerifyLog | Rpc::ExportRows => return None,
        Rpc::ListPolicies
        | Rpc::GetVersion
        | Rpc::ListVersions
        | Rpc::DiffVersions
        | Rpc::ListEvents
        | Rpc::GetActive
        | Rpc::ListActive
        | Rpc::ListSubscribers
        | Rpc::RecordRun
        | Rpc::PublishVersions
        | Rpc::GetRun
        | Rpc::ListRuns
        | Rpc::ListSchedules
        | Rpc::ListNamespaces
        | Rpc::ListRoleBindings
        | Rpc::ListDenials
        | Rpc::ListSigningKeys
        | Rpc::GetGuardrails
        | Rpc::UpdateGuardrails => LARGEST_ANSWER_BYTES,
        Rpc::CreatePolicy
        | Rpc::GetPolicy
        | Rpc::UpdatePolicy
        | Rpc::Stage
        | Rpc::Rollback
        | Rpc::GetValidationReport
        | Rpc::CreateSchedule
        | Rpc::GetSchedule
        | Rpc::CancelSchedule
        | Rpc::ResumeSchedule
        | Rpc::RevokeSigningKey => POLICY_ANSWER_MAX_BYTES,
        Rpc::GetConvergence => WAITING_CALL_BYTES,
        Rpc::Draft
        | Rpc::AbandonDraft
        | Rpc::Publish
        | Rpc::Activate
        | Rpc::Deactivate
        | Rpc::ApproveVersion
        | Rpc::RejectVersion
        | Rpc::ReportStatus
        | Rpc::CompleteRun
        | Rpc::CreateNamespace
        | Rpc::GetNamespace
        | Rpc::UpdateNamespace
        | Rpc::CreateRoleBinding
        | Rpc::DeleteRoleBinding
        | Rpc::PrepareSigningKey
        | Rpc::ActivateSigningKey
        | Rpc::RevokeToken
        | Rpc::ThawNamespace
        | Rpc::ImportNamespace => SMALL_ANSWER_MAX_BYTES,
    })
}

/// Bounds the memory of answers.
#[derive(Debug, Clone)]
pub struct AnswersLayer {
    in_flight: InFlight,
    long_reads: LongReads,
}

impl AnswersLayer {
    /// Creates a layer with a budget for all answers, and the slots of long reads.
    #[must_use]
    pub fn new(in_flight: InFlight, long_reads: LongReads) -> Self {
        Self { in_flight, long_reads }
    }
}

impl<S> Layer<S> for AnswersLayer {
    type Service = Answers<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Answers { inner, layer: self.clone() }
    }
}

/// Bounds the memory of the answers of a service.
#[derive(Debug, Clone)]
pub struct Answers<S> {
    inner: S,
    layer: AnswersLayer,
}

impl<S> Service<Request<Body>> for Answers<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The authentication layer inserted both. A request without them is for a method that needs no credential; its answer is small.
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let called = called.map(|(caller, rpc)| (caller.principal.actor(), *rpc, largest_answer_bytes(*rpc)));
        let Some((caller, rpc, largest_bytes)) = called else { return Box::pin(self.inner.call(request)) };
        let mut inner = take_ready(&mut self.inner);
        let AnswersLayer { in_flight, long_reads } = self.layer.clone();
        let progress = StreamProgress::of(request.extensions());
        Box::pin(async move {
            let slot = match long_reads.take(rpc, &caller).await {
                Ok(slot) => slot,
                Err(error) => return Ok(status(error).into_http()),
            };
            let Some(largest_bytes) = largest_bytes else {
                // A stream keeps its slot until it ends.
                if let Some(slot) = slot {
                    request.extensions_mut().insert(ReadStreamSlot::new(slot, in_flight, caller));
                }
                return inner.call(request).await;
            };
            let reserved = match in_flight.reserve(&caller, largest_bytes).await {
                Ok(reserved) => reserved,
                Err(error) => return Ok(status(error).into_http()),
            };
            let (parts, body) = inner.call(request).await?.into_parts();
            drop(slot);
            Ok(match collect(body, reserved, progress).await {
                Ok(answer) => Response::from_parts(parts, Body::new(answer)),
                Err(status) => status.into_http(),
            })
        })
    }
}

/// Collects an encoded answer, and keeps as much memory reserved as it takes.
async fn collect(mut body: Body, mut reserved: Reserved, progress: StreamProgress) -> Result<AnswerBody, Status> {
    let (mut bytes, mut trailers) = (Bytes::new(), None);
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame?.into_data() {
            Ok(data) if bytes.is_empty() => bytes = data,
            Ok(data) => {
                let mut more = BytesMut::from(bytes);
                more.extend_from_slice(&data);
                bytes = more.freeze();
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    // Frees the message that was encoded.
    drop(body);
    reserved.resize(u64::try_from(bytes.len()).unwrap_or(u64::MAX)).map_err(status)?;
    let sent = Arc::<Sent>::default();
    let (in_flight, length) = (reserved.in_flight().clone(), bytes.len());
    let rest = match length {
        0 => Bytes::new(),
        _ => Bytes::from_owner(AnswerBytes { bytes, _reserved: reserved, sent: Arc::clone(&sent) }),
    };
    Ok(AnswerBody { rest, length, trailers, sent, in_flight, progress })
}

/// The bytes of an answer. They are dropped once the last of them is on the wire, or their stream has ended.
struct AnswerBytes {
    bytes: Bytes,
    _reserved: Reserved,
    sent: Arc<Sent>,
}

impl AsRef<[u8]> for AnswerBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for AnswerBytes {
    fn drop(&mut self) {
        self.sent.is_done.store(true, Ordering::Release);
        self.sent.waker.wake();
    }
}

/// Signals when the whole answer is on the wire.
#[derive(Debug, Default)]
struct Sent {
    is_done: AtomicBool,
    waker: AtomicWaker,
}

impl Sent {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        if self.is_done.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The body of an answer.
struct AnswerBody {
    rest: Bytes,
    length: usize,
    trailers: Option<HeaderMap>,
    sent: Arc<Sent>,
    in_flight: InFlight,
    progress: StreamProgress,
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.progress.limit_as_answer();
        if !self.rest.is_empty() {
            let length = self.rest.len().min(SLICE_MAX_BYTES);
            let slice = self.rest.split_to(length);
            if self.rest.is_empty() {
                // An empty slice would keep the whole answer in memory.
                self.rest = Bytes::new();
            }
            return Poll::Ready(Some(Ok(Frame::data(slice))));
        }
        if self.length > UNWATCHED_MAX_BYTES && self.sent.poll(context).is_pending() {
            self.progress.expect_reader();
            return Poll::Pending;
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.trailers.is_none()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.progress.is_stalled() {
            self.in_flight.count_given_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::middleware::in_flight::IN_FLIGHT_MIN_BYTES;

    /// A body as tonic builds it from a message.
    struct Encoded(Vec<Frame<Bytes>>);

    impl http_body::Body for Encoded {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.0.pop().map(Ok))
        }
    }

    fn next(answer: &mut AnswerBody) -> Poll<Option<Frame<Bytes>>> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let polled = http_body::Body::poll_frame(Pin::new(answer), &mut context);
        polled.map(|frame| frame.map(|frame| frame.expect("no error")))
    }

    async fn answer(in_flight: &InFlight, length: usize) -> AnswerBody {
        let frames = vec![Frame::trailers(HeaderMap::new()), Frame::data(Bytes::from(vec![7; length]))];
        let body = Body::new(Encoded(frames));
        let reserved = in_flight.reserve("ann", LARGEST_ANSWER_BYTES).await.expect("room");
        collect(body, reserved, StreamProgress::default()).await.expect("an answer")
    }

    /// Given an answer, its memory stays reserved until its last slice is on the wire; the trailers wait for that.
    #[tokio::test]
    async fn an_answer_is_counted_until_it_is_sent() {
        let in_flight = InFlight::of_answers(IN_FLIGHT_MIN_BYTES);
        let mut answer = answer(&in_flight, SLICE_MAX_BYTES + 5).await;
        assert_eq!(in_flight.counts().used_bytes, u64::try_from(SLICE_MAX_BYTES + 5).expect("small"));
        let (one, two) = (next(&mut answer), next(&mut answer));
        assert!(next(&mut answer).is_pending(), "the trailers come last");
        drop(one);
        assert!(next(&mut answer).is_pending());
        assert_ne!(in_flight.counts().used_bytes, 0);
        let Poll::Ready(Some(last)) = two else { panic!("a frame") };
        assert_eq!(last.into_data().expect("data"), vec![7; 5]);
        assert_eq!(in_flight.counts().used_bytes, 0);
        assert!(matches!(next(&mut answer), Poll::Ready(Some(frame)) if frame.is_trailers()));
        assert!(matches!(next(&mut answer), Poll::Ready(None)) && answer.is_end_stream());
    }

    #[tokio::test]
    async fn a_small_answer_ends_at_once() {
        let in_flight = InFlight::of_answers(IN_FLIGHT_MIN_BYTES);
        let mut answer = answer(&in_flight, UNWATCHED_MAX_BYTES).await;
        let held = next(&mut answer);
        assert!(matches!(next(&mut answer), Poll::Ready(Some(frame)) if frame.is_trailers()));
        assert_eq!(in_flight.counts().used_bytes, u64::try_from(UNWATCHED_MAX_BYTES).expect("small"));
        drop(held);
        assert_eq!(in_flight.counts().used_bytes, 0);
    }
}
