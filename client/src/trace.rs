//! Spans of calls, and the trace that they belong to.
//!
//! Boundary: names no telemetry library but `tracing`; with the feature `opentelemetry` a call carries `traceparent` (W3C Trace
//! Context), so that the server's spans stand below the caller's.

use std::future::Future;

use tonic::metadata::{Ascii, MetadataValue};
use tracing::Instrument as _;

use super::error::ClientError;

/// Makes a call in a span of its own, which says how it ended.
pub(crate) async fn traced<T>(
    method: &'static str,
    call: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let span = tracing::debug_span!(
        "policyhub.call",
        rpc.system = "grpc",
        rpc.method = method,
        otel.kind = "client",
        rpc.grpc.status_code = tracing::field::Empty,
        error.reason = tracing::field::Empty,
    );
    async {
        let answer = call.await;
        let code = answer.as_ref().map_or_else(|error| error.code as i64, |_| 0);
        let span = tracing::Span::current();
        span.record("rpc.grpc.status_code", code);
        if let Err(error) = &answer {
            span.record("error.reason", &error.reason);
        }
        answer
    }
    .instrument(span)
    .await
}

/// The current span as a `traceparent` (W3C Trace Context §3.2); none: there is none, or nobody keeps it.
#[cfg(feature = "opentelemetry")]
pub(crate) fn trace_parent() -> Option<MetadataValue<Ascii>> {
    use opentelemetry::trace::TraceContextExt as _;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    let context = tracing::Span::current().context();
    let span = context.span();
    let span = span.span_context();
    let flags = span.trace_flags().to_u8();
    let written = span.is_valid().then(|| format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id()))?;
    written.parse().ok()
}

/// None: the feature `opentelemetry` is off.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn trace_parent() -> Option<MetadataValue<Ascii>> {
    None
}
