//! What every handler has: the use cases, and a clock it was given.

use std::sync::Arc;

use tonic::{Request, Status};

use crate::api::request::{self, Scoped};
use crate::api::status::status;
use crate::domain::access::Rpc;
use crate::domain::command::Delivery;
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
        self.context(request, || Ok(Delivery::default())).await
    }

    /// The context of a mutation.
    pub(super) async fn write<T: Scoped>(
        &self,
        asked: &Request<T>,
        request_id: &str,
        validate: bool,
    ) -> Result<Context, Status> {
        self.context(asked, || request::delivery(request_id, validate)).await
    }

    /// Permission first, and the rate of the namespace; the caller's was counted when the call was admitted. What else is wrong with a request is told to those who may make it.
    async fn context<T: Scoped>(
        &self,
        request: &Request<T>,
        delivery: impl FnOnce() -> Result<Delivery, Error>,
    ) -> Result<Context, Status> {
        // The authentication layer put them there; a call without them went another way and is refused.
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let (caller, rpc) =
            called.ok_or_else(|| status(Error::new(Reason::TokenMissing, "no bearer token was given")))?;
        let (principal, asked, now) = (&caller.principal, request.get_ref(), (self.clock)());
        let grants = self.service.authorize(principal, *rpc, asked.scope(), now).await.map_err(status)?;
        if let Some(other) = asked.other_scope() {
            self.service.authorize(principal, *rpc, other, now).await.map_err(status)?;
            self.service.meter_scope(other.1, *rpc, now).map_err(status)?;
        }
        self.service.meter_scope(asked.scope().1, *rpc, now).map_err(status)?;
        let delivery = delivery().map_err(status)?;
        Ok(Context { principal: principal.clone(), grants, delivery, now })
    }
}
