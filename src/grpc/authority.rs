//! Whether the caller of a stream still may have it: asked again and again while it is open (G18).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use tonic::{Request, Status};

use super::handler::Clock;
use super::jitter::fraction;
use crate::api::request::Scoped;
use crate::api::status::status;
use crate::auth::Verifier;
use crate::domain::access::Rpc;
use crate::domain::principal::Caller;
use crate::domain::{Error, Reason, Result};
use crate::service::Service;

/// Who is asked, and how often.
#[derive(Debug, Clone)]
pub struct Recheck {
    /// Whether a credential is still good.
    pub verifier: Arc<Verifier>,
    /// Between two questions.
    pub interval: Duration,
}

/// The authority of one stream.
pub(super) struct Authority {
    service: Arc<Service>,
    recheck: Recheck,
    clock: Clock,
    caller: Caller,
    rpc: Rpc,
    scope: String,
    next: Pin<Box<Sleep>>,
}

impl Authority {
    /// Of the stream that a request, which was authorized, opens.
    pub(super) fn of<T: Scoped>(
        request: &Request<T>,
        service: Arc<Service>,
        recheck: Recheck,
        clock: Clock,
    ) -> Result<Self, Status> {
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let (caller, rpc) = called.ok_or_else(|| status(Error::new(Reason::TokenMissing, "no caller is known")))?;
        // Streams that were opened together do not ask together.
        let next = Box::pin(sleep(recheck.interval.mul_f64(fraction())));
        let (_, scope) = request.get_ref().scope();
        Ok(Self { service, recheck, clock, caller: caller.clone(), rpc: *rpc, scope: scope.to_owned(), next })
    }

    /// When it is time to ask.
    pub(super) async fn due(&mut self) {
        self.next.as_mut().await;
        self.next = Box::pin(sleep(self.recheck.interval));
    }

    /// Whether the caller still may.
    ///
    /// # Errors
    /// Why not: the error that the call would get if it began now.
    pub(super) async fn check(&self) -> Result<()> {
        let now = (self.clock)();
        self.recheck.verifier.recheck(&self.caller, now.seconds())?;
        match self.service.authorize(&self.caller.principal, self.rpc, ("parent", &self.scope), now).await {
            Ok(_) => Ok(()),
            // Who lost it is not known in an outage, and what was granted goes on (G17).
            Err(error) if error.reason.is_of_the_database() || error.reason == Reason::DataLoss => Ok(()),
            Err(error) => Err(error),
        }
    }
}
