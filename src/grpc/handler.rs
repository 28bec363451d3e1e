//! What every handler has: the use cases, and a clock it was given.

use std::sync::Arc;

use tonic::{Request, Status};

use crate::api::request;
use crate::api::status::status;
use crate::domain::command::Delivery;
use crate::domain::principal::Principal;
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
    pub(super) fn read<T>(&self, request: &Request<T>) -> Result<Context, Status> {
        self.context(request, Delivery::default())
    }

    /// The context of a mutation.
    pub(super) fn write<T>(&self, asked: &Request<T>, request_id: &str, validate: bool) -> Result<Context, Status> {
        self.context(asked, request::delivery(request_id, validate).map_err(status)?)
    }

    fn context<T>(&self, request: &Request<T>, delivery: Delivery) -> Result<Context, Status> {
        // The authentication layer put it there; a call without one went another way and is refused.
        let principal = request.extensions().get::<Principal>().cloned();
        let principal =
            principal.ok_or_else(|| status(Error::new(Reason::TokenMissing, "no bearer token was given")))?;
        Ok(Context { principal, delivery, now: (self.clock)() })
    }
}

/// The answer of an RPC whose work is not in this version.
pub(super) fn unimplemented<T>(rpc: &str) -> Result<T, Status> {
    Err(status(Error::new(Reason::Unimplemented, format!("{rpc} is not in this version of the server"))))
}
