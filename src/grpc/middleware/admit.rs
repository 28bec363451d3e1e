//! Checks permission and rate before the body is read, so that the body of a caller without any role is never read.
//!
//! Invariant: it refuses only callers that hold no role which could allow the RPC anywhere. The target of the call is in the body; the
//! handler authorizes it once the body is decoded.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf as _;
use http::{Request, Response};
use http_body::Body;
use tower::Layer;

use super::ready_service::take_ready;
use crate::api::status::status;
use crate::domain::access::Rpc;
use crate::domain::principal::Caller;
use crate::grpc::handler::Clock;
use crate::service::Service;

/// How much of a refused request is read and discarded, and for how long. An answer before the end of its request resets the stream, and
/// some resets end a connection: a caller over its rate would lose the watches on it.
const DISCARD_MAX_BYTES: usize = 64 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_millis(200);

/// Admits callers that may make a call.
#[derive(Debug, Clone)]
pub struct AdmitLayer {
    service: Arc<Service>,
    clock: Clock,
}

impl AdmitLayer {
    /// Creates a layer that asks `service`.
    #[must_use]
    pub fn new(service: Arc<Service>, clock: Clock) -> Self {
        Self { service, clock }
    }
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admit { inner, layer: self.clone() }
    }
}

/// Admits the callers of a service.
#[derive(Debug, Clone)]
pub struct Admit<S> {
    inner: S,
    layer: AdmitLayer,
}

impl<S, B, R> tower::Service<Request<B>> for Admit<S>
where
    S: tower::Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The authentication layer inserted both. A request without them is for a method that needs no credential.
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let Some((principal, rpc)) = called.map(|(caller, rpc)| (caller.principal.clone(), *rpc)) else {
            return Box::pin(self.inner.call(request));
        };
        let mut inner = take_ready(&mut self.inner);
        let (service, now) = (Arc::clone(&self.layer.service), (self.layer.clock)());
        Box::pin(async move {
            match service.access.admit(&principal, rpc, now).await {
                Ok(()) => inner.call(request).await,
                Err(error) => {
                    let _ = tokio::time::timeout(DISCARD_TIMEOUT, discard(request.into_body())).await;
                    Ok(status(error).into_http())
                }
            }
        })
    }
}

/// Reads and discards the body of a small request.
async fn discard(mut body: impl Body + Unpin) {
    let mut bytes = 0;
    while bytes <= DISCARD_MAX_BYTES {
        let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let Some(Ok(frame)) = frame else { return };
        bytes += frame.data_ref().map_or(0, |data| data.remaining());
    }
}
