//! Limits how long a call waits for a database that does not answer (docs/guarantees.md#g17): only its first step waits.
//!
//! Several steps of a call can continue without the database. Without this layer each of them would wait again.

use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use crate::service::{OneWait, wait_once};

/// Lets each call wait for the database once.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseWaitLayer;

impl<S> Layer<S> for DatabaseWaitLayer {
    type Service = DatabaseWait<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DatabaseWait { inner }
    }
}

/// Lets each call of a service wait for the database once.
#[derive(Debug, Clone)]
pub struct DatabaseWait<S> {
    inner: S,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for DatabaseWait<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = OneWait<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        wait_once(self.inner.call(request))
    }
}
