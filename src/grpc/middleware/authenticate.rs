//! Authenticates callers: a bearer token or a client certificate on every call except health and reflection.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, header};
use tower::{Layer, Service};

use crate::api::status::status;
use crate::auth::{PeerCertificate, Verifier};
use crate::domain::access::Rpc;
use crate::domain::{Error, Reason};
use crate::grpc::handler::Clock;
use crate::transport::ConnectionHandle;

/// The packages that need no credential: they reveal nothing of any tenant, and probes have no credential.
const OPEN_PREFIXES: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// Verifies credentials.
#[derive(Debug, Clone)]
pub struct AuthenticateLayer {
    verifier: Arc<Verifier>,
    clock: Clock,
}

impl AuthenticateLayer {
    /// Creates a layer that accepts the credentials that `verifier` accepts.
    #[must_use]
    pub fn new(verifier: Arc<Verifier>, clock: Clock) -> Self {
        Self { verifier, clock }
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate { inner, layer: self.clone() }
    }
}

/// Authenticates the callers of a service.
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    inner: S,
    layer: AuthenticateLayer,
}

impl<S, B, R> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = futures_util::future::Either<S::Future, std::future::Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        use futures_util::future::Either;
        let path = request.uri().path();
        if OPEN_PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
            return Either::Left(self.inner.call(request));
        }
        // Every other valid path is in the table of RPCs.
        let rpc = Rpc::of_path(path).ok_or_else(|| Error::new(Reason::Unimplemented, "there is no such RPC"));
        let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
        let token = match (given.next(), given.next()) {
            (None, _) => None,
            (Some(only), None) => Some(only.to_str().unwrap_or_default()),
            // Two tokens are refused: a proxy in between may have checked the other one.
            (Some(_), Some(_)) => Some(""),
        };
        let certificate = request.extensions().get::<Arc<PeerCertificate>>().map(Arc::as_ref);
        let verified = self.layer.verifier.authenticate(token, certificate, (self.layer.clock)().seconds());
        match verified.and_then(|caller| Ok((caller, rpc?))) {
            Ok((caller, rpc)) => {
                if let Some(connection) = request.extensions().get::<ConnectionHandle>() {
                    connection.mark_authenticated();
                }
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(rpc);
                Either::Left(self.inner.call(request))
            }
            Err(error) => Either::Right(std::future::ready(Ok(status(error).into_http()))),
        }
    }
}
