//! What every handler has: the use cases, and a clock it was given.

use std::sync::Arc;

use tonic::{Request, Status};

use crate::api::request::{self, Scoped};
use crate::api::status::status;
use crate::domain::access::Rpc;
use crate::domain::command::RequestOptions;
use crate::domain::principal::Caller;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason};
use crate::service::{Context, Service};

/// Tells the time.
pub type Clock = fn() -> Micros;

/// The state of a handler.
#[derive(Debug, Clone)]
pub struct Handler {
    pub(super) service: Arc<Service>,
    pub(super) clock: Clock,
}

impl Handler {
    /// A handler over a service.
    #[must_use]
    pub fn new(service: Arc<Service>, clock: Clock) -> Self {
        Self { service, clock }
    }

    /// The context of a read.
    pub(super) async fn read<T: Scoped>(&self, request: &Request<T>) -> Result<Context, Status> {
        self.context(request, || Ok(RequestOptions::default())).await
    }

    /// The context of a mutation.
    pub(super) async fn write<T: Scoped>(
        &self,
        asked: &Request<T>,
        request_id: &str,
        validate: bool,
    ) -> Result<Context, Status> {
        self.context(asked, || request::request_options(request_id, validate)).await
    }

    /// Permission first, and the rate of the namespace; the caller's was counted when the call was admitted. What else is wrong with a request is told to those who may make it.
    async fn context<T: Scoped>(
        &self,
        request: &Request<T>,
        options: impl FnOnce() -> Result<RequestOptions, Error>,
    ) -> Result<Context, Status> {
        let asked = request.get_ref();
        let context = self.permit(request, asked.scope()).await.map_err(status)?;
        if let Some(other) = asked.other_scope() {
            self.permit(request, other).await.map_err(status)?;
        }
        Ok(Context { options: options().map_err(status)?, ..context })
    }

    /// Counts one thing more that a call asks for against the rate of its caller.
    pub(super) fn meter_caller<T>(&self, request: &Request<T>) -> Result<(), Error> {
        let (caller, rpc) = called(request)?;
        self.service.meter_caller(&caller.principal, *rpc, (self.clock)())
    }

    /// Authorizes the caller for what one field names, and counts the call against the rate of its namespace.
    pub(super) async fn permit<T>(&self, request: &Request<T>, scope: (&str, &str)) -> Result<Context, Error> {
        let (caller, rpc) = called(request)?;
        let (principal, now) = (&caller.principal, (self.clock)());
        let grants = self.service.authorize(principal, *rpc, scope, now).await?;
        self.service.meter_scope(scope.1, *rpc, now)?;
        Ok(Context { principal: principal.clone(), grants, options: RequestOptions::default(), now })
    }
}

/// Returns who called and what. The authentication layer put them there; a call without them went another way and is refused.
fn called<T>(request: &Request<T>) -> Result<(&Caller, &Rpc), Error> {
    let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
    called.ok_or_else(|| Error::new(Reason::TokenMissing, "no bearer token was given"))
}
