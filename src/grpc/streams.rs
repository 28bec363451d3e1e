//! The routes of WatchActive, VerifyLog and ExportRows, in front of tonic's routes.
//!
//! Each of these RPCs answers with a body of encoded messages. The generated services would encode each message for each stream again, so
//! a route decodes the request as they do and returns the body of its handler.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Response, Version, header};
use tonic::body::Body;
use tonic::codec::{Codec as _, Streaming};
use tonic::{Request, Status};
use tower::Service;

use super::middleware::COMPRESSED;
use super::read::{export_rows, verify_log};
use super::watch::WatchHandler;
use crate::api::codec::{BoundedCodec, BoundedMessage};
use crate::domain::access::Rpc;
use crate::domain::limits::REQUEST_MAX_BYTES;

const GRPC_ENCODING: &str = "grpc-encoding";

/// Answers the streaming RPCs, and passes all other calls on to `inner`.
#[derive(Debug, Clone)]
pub struct StreamRoutes<S> {
    watch: WatchHandler,
    inner: S,
}

impl<S> StreamRoutes<S> {
    /// Puts the routes in front of `inner`.
    #[must_use]
    pub fn new(watch: WatchHandler, inner: S) -> Self {
        Self { watch, inner }
    }
}

impl<S> Service<http::Request<Body>> for StreamRoutes<S>
where
    S: Service<http::Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let watch = self.watch.clone();
        match Rpc::of_path(request.uri().path()) {
            Some(Rpc::WatchActive) => {
                Box::pin(async move { Ok(answer(request, async |request| watch.watch_active(request).await).await) })
            }
            Some(Rpc::VerifyLog) => {
                Box::pin(
                    async move { Ok(answer(request, async |request| verify_log(&watch.handler, request).await).await) },
                )
            }
            Some(Rpc::ExportRows) => Box::pin(async move {
                Ok(answer(request, async |request| export_rows(&watch.handler, request).await).await)
            }),
            _ => Box::pin(self.inner.call(request)),
        }
    }
}

/// Answers a call with the body of its handler, or with the status of its error.
async fn answer<M: BoundedMessage + Send>(
    request: http::Request<Body>,
    handle: impl AsyncFnOnce(Request<M>) -> Result<Body, Status>,
) -> Response<Body> {
    let body = match decode(request).await {
        Ok(request) => handle(request).await,
        Err(status) => Err(status),
    };
    let body = match body {
        Ok(body) => body,
        Err(status) => return status.into_http(),
    };
    let mut response = Response::new(body);
    *response.version_mut() = Version::HTTP_2;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Decodes the message of a request, with the same errors as tonic.
async fn decode<M: BoundedMessage + Send>(request: http::Request<Body>) -> Result<Request<M>, Status> {
    let (parts, body) = request.into_parts();
    if parts.headers.get(GRPC_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented(COMPRESSED));
    }
    let decoder = BoundedCodec::<(), M>::default().decoder();
    let mut messages = Streaming::new_request(decoder, body, None, Some(REQUEST_MAX_BYTES));
    let message = messages.message().await?.ok_or_else(|| Status::internal("Missing request message."))?;
    // This reads to the end, and fails when bytes follow the message.
    messages.trailers().await?;
    Ok(Request::from_http(http::Request::from_parts(parts, message)))
}
