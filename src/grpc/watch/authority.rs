//! Checks periodically whether the caller of an open watch is still authorized (docs/guarantees.md#g18).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Sleep, sleep};
use tonic::Request;

use crate::auth::Verifier;
use crate::domain::access::Rpc;
use crate::domain::principal::Caller;
use crate::domain::{Error, Reason, Result};
use crate::grpc::handler::Clock;
use crate::service::Service;

/// The settings for the repeated authorization of open watches.
#[derive(Debug, Clone)]
pub struct Recheck {
    /// Checks the credential.
    pub verifier: Arc<Verifier>,
    /// The time between two checks.
    pub interval: Duration,
}

/// The authorization of the watch of one namespace.
pub(super) struct WatchAuthorization {
    service: Arc<Service>,
    recheck: Recheck,
    clock: Clock,
    caller: Caller,
    rpc: Rpc,
    scope: String,
    next: Pin<Box<Sleep>>,
    /// The check that is running.
    check: Option<BoxFuture<'static, Result<()>>>,
}

impl WatchAuthorization {
    /// Starts with a request that was authorized for a namespace.
    pub(super) fn new<T>(
        request: &Request<T>,
        namespace: &str,
        service: Arc<Service>,
        recheck: Recheck,
        clock: Clock,
    ) -> Result<Self> {
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let (caller, rpc) = called.ok_or_else(|| Error::new(Reason::TokenMissing, "no caller is known"))?;
        // Watches that were opened together must not be checked together.
        let next = Box::pin(sleep(recheck.interval.mul_f64(fastrand::f64())));
        Ok(Self {
            service,
            recheck,
            clock,
            caller: caller.clone(),
            rpc: *rpc,
            scope: namespace.to_owned(),
            next,
            check: None,
        })
    }

    /// Waits until the caller is no longer authorized. Returns the error that the call would get if it began now.
    ///
    /// Cancel-safe: a running check continues with the next call. It delays no message.
    pub(super) async fn revoked(&mut self) -> Error {
        loop {
            let check = match &mut self.check {
                Some(check) => check,
                None => {
                    self.next.as_mut().await;
                    self.next = Box::pin(sleep(self.recheck.interval));
                    let check = self.begin_check();
                    self.check.insert(check)
                }
            };
            let result = check.await;
            self.check = None;
            if let Err(error) = result {
                return error;
            }
        }
    }

    fn begin_check(&self) -> BoxFuture<'static, Result<()>> {
        let (service, verifier) = (Arc::clone(&self.service), Arc::clone(&self.recheck.verifier));
        let (caller, rpc, scope, now) = (self.caller.clone(), self.rpc, self.scope.clone(), (self.clock)());
        Box::pin(async move {
            verifier.recheck(&caller, now.seconds())?;
            match service.access.authorize(&caller.principal, rpc, ("parent", &scope), now).await {
                Ok(_) => Ok(()),
                // During an outage it is unknown who lost a role, so authorization stays (docs/guarantees.md#g17).
                Err(error) if error.reason.is_of_the_database() || error.reason == Reason::DataLoss => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}
