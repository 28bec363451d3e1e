//! Whether the caller of a stream still may have it: asked again and again while it is open (docs/guarantees.md#g18).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Sleep, sleep};
use tonic::Request;

use super::handler::Clock;
use super::jitter::fraction;
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
    /// The question that is on its way.
    asked: Option<BoxFuture<'static, Result<()>>>,
}

impl Authority {
    /// Of the watch of a namespace that a request, which was authorized for it, opens.
    pub(super) fn of<T>(
        request: &Request<T>,
        namespace: &str,
        service: Arc<Service>,
        recheck: Recheck,
        clock: Clock,
    ) -> Result<Self> {
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let (caller, rpc) = called.ok_or_else(|| Error::new(Reason::TokenMissing, "no caller is known"))?;
        // Streams that were opened together do not ask together.
        let next = Box::pin(sleep(recheck.interval.mul_f64(fraction())));
        Ok(Self {
            service,
            recheck,
            clock,
            caller: caller.clone(),
            rpc: *rpc,
            scope: namespace.to_owned(),
            next,
            asked: None,
        })
    }

    /// Waits until the caller may not have it any more, and says why: the error that the call would get if it began now. It may
    /// be dropped and called again: a question that is on its way goes on then, and holds up no message meanwhile.
    pub(super) async fn lost(&mut self) -> Error {
        loop {
            let asked = match &mut self.asked {
                Some(asked) => asked,
                None => {
                    self.next.as_mut().await;
                    self.next = Box::pin(sleep(self.recheck.interval));
                    let question = self.question();
                    self.asked.insert(question)
                }
            };
            let answer = asked.await;
            self.asked = None;
            if let Err(error) = answer {
                return error;
            }
        }
    }

    /// Whether the caller still may.
    fn question(&self) -> BoxFuture<'static, Result<()>> {
        let (service, verifier) = (Arc::clone(&self.service), Arc::clone(&self.recheck.verifier));
        let (caller, rpc, scope, now) = (self.caller.clone(), self.rpc, self.scope.clone(), (self.clock)());
        Box::pin(async move {
            verifier.recheck(&caller, now.seconds())?;
            match service.access.authorize(&caller.principal, rpc, ("parent", &scope), now).await {
                Ok(_) => Ok(()),
                // Who lost it is not known in an outage, and what was granted goes on (docs/guarantees.md#g17).
                Err(error) if error.reason.is_of_the_database() || error.reason == Reason::DataLoss => Ok(()),
                Err(error) => Err(error),
            }
        })
    }
}
