//! The gRPC port of a testing hub: five calls by their paths, and UNIMPLEMENTED for every other path.
//!
//! Boundary: no router and no generated service, so that a call which is added to the contract is answered by itself.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::Grpc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::state::SharedState;
use super::{calls, stream};
use policyhub_core::api::codec::{BoundedCodec, BoundedMessage};
use policyhub_core::api::pb;
use policyhub_core::api::status::status;
use policyhub_core::domain::limits::REQUEST_MAX_BYTES;
use policyhub_core::domain::{Error, Reason, Result as DomainResult};

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<Body>;
type Answering<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves until no handle of the hub is left, and then until its connections have ended.
pub(super) async fn serve(shared: Arc<SharedState>, incoming: TcpIncoming) {
    let watched = Arc::clone(&shared);
    let over = async move { watched.wait_for(|state| state.is_over.then_some(())).await };
    // Each connection answers for itself: what fails here is a listener that nobody can do anything about.
    if let Err(error) = Server::builder().serve_with_incoming_shutdown(HubCalls(shared), incoming, over).await {
        tracing::warn!(%error, "the testing hub stopped listening");
    }
}

/// All calls.
#[derive(Debug, Clone)]
struct HubCalls(Arc<SharedState>);

impl Service<HttpRequest> for HubCalls {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Answering<Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let shared = Arc::clone(&self.0);
        async move { Ok(answer(shared, request).await) }.boxed()
    }
}

async fn answer(shared: Arc<SharedState>, request: HttpRequest) -> HttpResponse {
    match request.uri().path() {
        "/policyhub.v1.SyncService/WatchActive" => grpc().server_streaming(OpenedWatch(shared), request).await,
        "/policyhub.v1.SyncService/GetActive" => {
            unary(shared, request, |hub, asked| calls::get_active(hub, &asked)).await
        }
        "/policyhub.v1.SyncService/ListActive" => {
            unary(shared, request, |hub, asked| calls::list_active(hub, &asked)).await
        }
        "/policyhub.v1.SyncService/ReportStatus" => unary(shared, request, calls::report_status).await,
        "/policyhub.v1.AdminService/ListSigningKeys" => {
            unary(shared, request, |hub, asked| calls::list_signing_keys(hub, &asked)).await
        }
        path => {
            let call = path.trim_start_matches('/').chars().take(SHOWN_MAX_CHARS).collect::<String>();
            status(Error::new(Reason::Unimplemented, format!("the testing hub has no call {call}"))).into_http()
        }
    }
}

/// Longest path that an error repeats.
const SHOWN_MAX_CHARS: usize = 100;

fn grpc<Asked: BoundedMessage + Send, Answer: BoundedMessage + Send>() -> Grpc<BoundedCodec<Answer, Asked>> {
    Grpc::new(BoundedCodec::default()).max_decoding_message_size(REQUEST_MAX_BYTES)
}

async fn unary<Asked: BoundedMessage + Send, Answer: BoundedMessage + Send>(
    shared: Arc<SharedState>,
    request: HttpRequest,
    answer: fn(&SharedState, Asked) -> DomainResult<Answer>,
) -> HttpResponse {
    grpc().unary(Unary { shared, answer }, request).await
}

/// A call with one answer.
struct Unary<Asked, Answer> {
    shared: Arc<SharedState>,
    answer: fn(&SharedState, Asked) -> DomainResult<Answer>,
}

impl<Asked: Send + 'static, Answer: 'static> Service<Request<Asked>> for Unary<Asked, Answer> {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Answering<Result<Response<Answer>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Asked>) -> Self::Future {
        let (shared, answer) = (Arc::clone(&self.shared), self.answer);
        async move {
            shared.running().await?;
            answer(&shared, request.into_inner()).map(Response::new).map_err(status)
        }
        .boxed()
    }
}

/// The call whose answer is a stream.
struct OpenedWatch(Arc<SharedState>);

impl Service<Request<pb::WatchActiveRequest>> for OpenedWatch {
    type Response = Response<BoxStream<'static, Result<pb::WatchActiveResponse, Status>>>;
    type Error = Status;
    type Future = Answering<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<pb::WatchActiveRequest>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        async move {
            shared.running().await?;
            Ok(Response::new(stream::open(shared, request.get_ref())?.boxed()))
        }
        .boxed()
    }
}
