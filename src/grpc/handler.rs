//! The state that every handler needs: the use cases, a clock, and the authorization of a call.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::api::request::{Mutation, Scoped};
use crate::api::status::status;
use crate::domain::access::Rpc;
use crate::domain::command::RequestOptions;
use crate::domain::principal::Caller;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason};
use crate::service::{AuthorizedBy, Context, Service};

/// Reads the clock.
pub type Clock = fn() -> Micros;

/// The result of a unary handler.
pub(super) type RpcResult<T> = Result<Response<T>, Status>;

/// The state that all handlers share.
#[derive(Debug, Clone)]
pub struct Handler {
    pub(super) service: Arc<Service>,
    pub(super) clock: Clock,
}

impl Handler {
    /// Creates the state of handlers over a service.
    #[must_use]
    pub fn new(service: Arc<Service>, clock: Clock) -> Self {
        Self { service, clock }
    }

    /// Authorizes a read and returns its context.
    ///
    /// # Errors
    /// Errors of authorization, and `RATE_LIMITED` of the namespace.
    pub(super) async fn read<T: Scoped>(&self, request: &Request<T>) -> Result<Context, Status> {
        self.context(request, || Ok(RequestOptions::default())).await
    }

    /// Authorizes a mutation and returns its context.
    ///
    /// # Errors
    /// The same as `read`, and for an invalid request id.
    pub(super) async fn mutation<T: Mutation>(&self, request: &Request<T>) -> Result<Context, Status> {
        self.context(request, || request.get_ref().request_options()).await
    }

    /// Checks the permission first, then the rate of the namespace; the rate of the caller was checked at admission. Only a caller with
    /// the permission learns what else is wrong with a request.
    async fn context<T: Scoped>(
        &self,
        request: &Request<T>,
        options: impl FnOnce() -> Result<RequestOptions, Error>,
    ) -> Result<Context, Status> {
        let message = request.get_ref();
        let context = self.permit(request, message.scope()).await.map_err(status)?;
        if let Some(other) = message.other_scope() {
            self.permit(request, other).await.map_err(status)?;
        }
        Ok(Context { options: options().map_err(status)?, ..context })
    }

    /// Counts one more item of a call against the rate of its caller.
    pub(super) fn meter_caller<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let (caller, rpc) = caller_and_rpc(request)?;
        self.service.access.meter_caller(&caller.principal, *rpc, (self.clock)())
    }

    /// Authorizes the caller for the scope that one field names, and counts the call against the rate of its namespace.
    pub(super) async fn permit<T>(&self, request: &Request<T>, scope: (&str, &str)) -> Result<Context, Error> {
        let (caller, rpc) = caller_and_rpc(request)?;
        let (principal, now) = (&caller.principal, (self.clock)());
        let generation = self.service.store_generation();
        let grants = self.service.access.authorize(principal, *rpc, scope, now).await?;
        self.service.access.meter_scope(scope.1, *rpc, now)?;
        let Caller { principal, credential } = caller.clone();
        let authorized_by = Some(AuthorizedBy { credential, generation });
        Ok(Context { principal, authorized_by, grants, options: RequestOptions::default(), now })
    }
}

/// Returns the caller and the RPC, which the authentication layer inserted. A call without them bypassed that layer and is refused.
fn caller_and_rpc<T>(request: &Request<T>) -> Result<(&Caller, &Rpc), Error> {
    let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
    called.ok_or_else(|| Error::new(Reason::TokenMissing, "no bearer token was given"))
}
