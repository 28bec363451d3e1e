//! The protocols of the port: gRPC and gRPC-Web. Any other request gets an answer in plain text that says so (ADR 0060).
//!
//! Invariant: a call has a content type that a browser sends to another origin only after a preflight (Fetch, "CORS-safelisted
//! request-header"), and no origin is allowed. So no web page can use the client certificate of its reader.

use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tonic::body::Body;
use tower::{Layer, Service};

/// The content types of gRPC; parameters may follow.
const GRPC: [&str; 2] = ["application/grpc", "application/grpc+proto"];
/// The content types of gRPC-Web, as tonic-web knows them: nothing may follow.
const GRPC_WEB: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/grpc, application/grpc-web, application/grpc-web-text");
/// Describes this port to a client that connected by mistake.
pub(super) const PORT_DESCRIPTION: &str = "This is the gRPC port of Policy Hub. It takes gRPC (application/grpc) and gRPC-Web \
(application/grpc-web), with protobuf messages, over HTTP/2. It takes neither JSON nor Connect, nor HTTP/1.1.\n\
The HTTP port (http_addr, by default 7071) answers probes, metrics and public keys.\n\
For calls by hand, use grpcurl, buf curl --protocol grpc, or policyhub.\n";

/// Refuses requests that are neither gRPC nor gRPC-Web.
#[derive(Debug, Clone, Copy)]
pub struct ProtocolLayer;

impl<S> Layer<S> for ProtocolLayer {
    type Service = ProtocolCheck<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ProtocolCheck { inner }
    }
}

/// Checks the content type of each request.
#[derive(Debug, Clone)]
pub struct ProtocolCheck<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for ProtocolCheck<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, std::future::Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if is_accepted(request.headers()) {
            return Either::Left(self.inner.call(request));
        }
        Either::Right(std::future::ready(Ok(refusal())))
    }
}

/// Returns whether the content type of a request is accepted. Only that of gRPC may have upper case.
fn is_accepted(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split_once(';').map_or(given, |(kind, _)| kind).trim_end();
    GRPC.iter().any(|accepted| kind.eq_ignore_ascii_case(accepted)) || GRPC_WEB.contains(&given)
}

/// Answers 415, with the content types that are accepted (RFC 9110 §15.5.16).
fn refusal() -> Response<Body> {
    let mut response = Response::new(Body::new(PORT_DESCRIPTION.to_owned()));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response.headers_mut().insert(header::ACCEPT, ACCEPTED);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_those_of_grpc() {
        let is_accepted = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header"));
            is_accepted(&headers)
        };
        for kind in ["application/grpc;charset=utf-8", "application/grpc+proto ; a=b", "Application/GRPC"] {
            assert!(is_accepted(kind), "{kind}");
        }
        for kind in GRPC.iter().chain(&GRPC_WEB) {
            assert!(is_accepted(kind), "{kind}");
        }
        for kind in [
            "",
            "application/json",
            "application/proto",
            "application/connect+proto",
            "application/grpc+json",
            "application/grpcx",
            "application/grpc-web+json",
            "application/grpc-web; charset=utf-8",
            "text/plain",
            "text/plain; application/grpc",
            "multipart/form-data; boundary=application/grpc",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_accepted(kind), "{kind}");
        }
        assert!(!super::is_accepted(&HeaderMap::new()), "no content type");
    }
}
