//! Checks periodically whether the caller of an open watch is still authorized (docs/guarantees.md#g18).
//!
//! A watch has no timer: a check that is due begins when the watch is woken, by a heartbeat at the latest. Ten thousand timers would wake
//! ten thousand streams one by one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
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
    /// The longest time between two checks.
    pub interval: Duration,
    /// A monotonic clock.
    pub monotonic: fn() -> Instant,
}

impl Recheck {
    /// Returns how long after a check the next one is due, so that the last heartbeat in the interval begins it, also when it is a little early.
    fn due_after(&self, heartbeat_interval: Duration) -> Duration {
        let heartbeats = self.interval.as_nanos() / heartbeat_interval.as_nanos().max(1);
        let heartbeats = u32::try_from(heartbeats).unwrap_or(u32::MAX).max(1);
        heartbeat_interval.saturating_mul(heartbeats).saturating_sub(heartbeat_interval / 2)
    }
}

/// The authorization of the watch of one namespace.
pub(super) struct WatchAuthorization {
    service: Arc<Service>,
    recheck: Recheck,
    clock: Clock,
    caller: Caller,
    rpc: Rpc,
    scope: String,
    /// The time after a check from which the next one is due.
    due_after: Duration,
    /// Time from which a check is due.
    next: Instant,
    /// The check that is running.
    check: Option<BoxFuture<'static, Result<()>>>,
}

impl WatchAuthorization {
    /// Starts with a request that was authorized for a namespace.
    pub(super) fn new<T>(
        request: &Request<T>,
        namespace: &str,
        service: Arc<Service>,
        (recheck, heartbeat_interval): (Recheck, Duration),
        clock: Clock,
    ) -> Result<Self> {
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let (caller, rpc) = called.ok_or_else(|| Error::new(Reason::TokenMissing, "no caller is known"))?;
        // Watches that were opened together must not be checked together.
        let due_after = recheck.due_after(heartbeat_interval);
        let next = (recheck.monotonic)() + due_after.mul_f64(fastrand::f64());
        Ok(Self {
            service,
            recheck,
            clock,
            caller: caller.clone(),
            rpc: *rpc,
            scope: namespace.to_owned(),
            due_after,
            next,
            check: None,
        })
    }

    /// Waits until the caller is no longer authorized. Returns the error that the call would get if it began now. Begins a check that is due;
    /// waits forever when none is: the watch must call it again when it is woken.
    ///
    /// Cancel-safe: a running check continues with the next call. It delays no message.
    pub(super) async fn revoked(&mut self) -> Error {
        loop {
            let check = match &mut self.check {
                Some(check) => check,
                None => {
                    let now = (self.recheck.monotonic)();
                    if now < self.next {
                        return std::future::pending().await;
                    }
                    self.next = now + self.due_after;
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
