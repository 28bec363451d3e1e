//! Reads that look through much: how many of them run at once, and how many of one caller.
//!
//! Each holds a connection to the database and a core for as long as it takes. Without a bound, one caller with many of them
//! would hold all connections, and every other call would wait behind them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::api::status::status;
use crate::domain::access::Rpc;
use crate::domain::principal::Caller;
use crate::domain::{Error, Reason, Result};
use crate::service::{FairSlot, FairSlots};

/// How long a read waits for its turn. Longer: callers give up before they are told why.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Logs that are verified or waited for at once: they run one after the other.
const AUDITS_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Pages of many rows.
    Pages,
    /// A whole log: minutes, of a large one.
    Audit,
}

fn kind(rpc: Rpc) -> Option<Kind> {
    match rpc {
        Rpc::ListPolicies
        | Rpc::ListVersions
        | Rpc::DiffVersions
        | Rpc::ListEvents
        | Rpc::ListActive
        | Rpc::ListSubscribers
        | Rpc::ExportRows => Some(Kind::Pages),
        Rpc::VerifyLog => Some(Kind::Audit),
        _ => None,
    }
}

#[derive(Debug)]
struct Turns {
    pages: FairSlots<String>,
    audits: FairSlots<String>,
}

impl Turns {
    async fn take(&self, kind: Kind, caller: &String) -> Result<FairSlot> {
        match kind {
            // The caller's own deadline ends it.
            Kind::Audit => self.audits.take(caller).await,
            Kind::Pages => {
                let taken = tokio::time::timeout(TURN_WAIT_MAX, self.pages.take(caller)).await;
                taken.unwrap_or_else(|_| Err(too_many()))
            }
        }
    }
}

fn too_many() -> Error {
    let seconds = TURN_WAIT_MAX.as_secs();
    let message = format!(
        "too many lists, searches, diffs and exports run for this caller or on this server; none ended within {seconds} s: \
         make fewer at once"
    );
    Error::new(Reason::LimitExceeded, message).with("limit_seconds", seconds)
}

/// Gives long reads their turns.
#[derive(Debug, Clone)]
pub struct LongReadsLayer(Arc<Turns>);

impl LongReadsLayer {
    /// A layer for a store with so many connections for reads: half of them are for long reads, a quarter for those of one
    /// caller.
    #[must_use]
    pub fn new(readers: usize) -> Self {
        let pages = FairSlots::new((readers / 2).max(1), (readers / 4).max(1));
        Self(Arc::new(Turns { pages, audits: FairSlots::new(AUDITS_MAX, 1) }))
    }
}

impl<S> Layer<S> for LongReadsLayer {
    type Service = LongReads<S>;

    fn layer(&self, inner: S) -> Self::Service {
        LongReads { inner, turns: Arc::clone(&self.0) }
    }
}

/// The service behind the layer.
#[derive(Debug, Clone)]
pub struct LongReads<S> {
    inner: S,
    turns: Arc<Turns>,
}

impl<S> Service<Request<Body>> for LongReads<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The authentication layer put both there. Without them it is a method that takes no credential.
        let called = request.extensions().get::<Caller>().zip(request.extensions().get::<Rpc>());
        let called = called.and_then(|(caller, rpc)| Some((caller.principal.actor(), kind(*rpc)?)));
        let Some((caller, kind)) = called else { return Box::pin(self.inner.call(request)) };
        // The one that was found ready goes with the call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let turns = Arc::clone(&self.turns);
        Box::pin(async move {
            let _turn = match turns.take(kind, &caller).await {
                Ok(turn) => turn,
                Err(error) => return Ok(status(error).into_http()),
            };
            inner.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_caller_has_a_quarter_of_the_connections_and_all_have_half() {
        let LongReadsLayer(turns) = LongReadsLayer::new(12);
        let take = |caller: &str| {
            let (turns, caller) = (Arc::clone(&turns), caller.to_owned());
            async move { turns.take(Kind::Pages, &caller).await }
        };
        let mut held: Vec<_> = (0..3).map(|_| take("noisy").now_or_never().expect("a turn")).collect();
        let refused = take("noisy").await.expect_err("it has its part");
        assert_eq!((refused.reason, refused.metadata["limit_seconds"].as_str()), (Reason::LimitExceeded, "10"));
        held.extend((0..3).map(|_| take("other").now_or_never().expect("a turn")));
        assert!(take("third").await.is_err(), "the other half is for short calls");
        held.clear();
        assert!(take("noisy").now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_caller_verifies_one_log_at_a_time() {
        let LongReadsLayer(turns) = LongReadsLayer::new(4);
        let (noisy, other) = ("noisy".to_owned(), "other".to_owned());
        let held = turns.take(Kind::Audit, &noisy).now_or_never().expect("a turn");
        assert!(turns.take(Kind::Audit, &noisy).now_or_never().is_none());
        assert!(turns.take(Kind::Audit, &other).now_or_never().is_some());
        drop(held);
        assert!(turns.take(Kind::Audit, &noisy).now_or_never().is_some());
    }
}
