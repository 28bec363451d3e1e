//! Makes a span, a log line and a count for every call. Joins the caller's `traceparent` (W3C Trace Context).
//!
//! Never logged: tokens, contents, reasons, notes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, Request, Response};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use prost::Message as _;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::denials::{Denials, is_denial};
use super::metrics::Metrics;
use crate::api::pb::DESCRIPTORS;
use crate::transport::ConnectionHandle;

/// The header of W3C Trace Context that names the caller's span.
const TRACE_PARENT: &str = "traceparent";
/// The label of every path that is not one of our methods.
const OTHER: &str = "other";

/// Observes calls.
#[derive(Debug, Clone)]
pub struct ObserveLayer {
    // Shared: the layers are cloned for each call.
    metrics: Arc<Metrics>,
    denials: Arc<Denials>,
    methods: Arc<BTreeMap<String, &'static str>>,
}

impl ObserveLayer {
    /// Returns a layer that counts into `metrics`, one row per method of the descriptor set, and reports refusals to `denials`.
    #[must_use]
    pub fn new(metrics: Metrics, denials: Arc<Denials>) -> Self {
        let set = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
        let mut methods = BTreeMap::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    // Leaked once per method and process: labels must be 'static.
                    let name: &'static str = Box::leak(path.clone().into_boxed_str());
                    methods.insert(path, name);
                }
            }
        }
        Self { metrics: Arc::new(metrics), denials, methods: Arc::new(methods) }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe { inner, layer: self.clone() }
    }
}

/// The service behind the layer.
#[derive(Debug, Clone)]
pub struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S, B, R> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = self.layer.methods.get(request.uri().path()).copied().unwrap_or(OTHER);
        let span = tracing::info_span!("rpc", otel.name = method, otel.kind = "server", rpc.method = method);
        if request.headers().contains_key(TRACE_PARENT) {
            let parent = TraceContextPropagator::new().extract(&Headers(request.headers()));
            // Without a collector no layer takes a parent, so the error is ignored.
            let _ = span.set_parent(parent);
        }
        let peer = request.extensions().get::<ConnectionHandle>().and_then(ConnectionHandle::peer);
        let started = Instant::now();
        let (metrics, denials) = (self.layer.metrics.clone(), self.layer.denials.clone());
        let answer = span.in_scope(|| self.inner.call(request));
        Box::pin(
            async move {
                let answer = answer.await;
                if let Ok(response) = &answer {
                    let status = Status::from_header_map(response.headers());
                    let code = status.as_ref().map_or(Code::Ok, Status::code);
                    if let Some(status) = status.as_ref().filter(|status| is_denial(status.code())) {
                        metrics.denied(denials.denied(method, status, peer, Instant::now()));
                    }
                    let elapsed = started.elapsed();
                    metrics.called(method, code, elapsed);
                    let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
                    tracing::debug!(method, ?code, elapsed_us, "answered");
                }
                answer
            }
            .instrument(span),
        )
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
