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
    let answer = call.instrument(span.clone()).await;
    let code = answer.as_ref().map_or_else(|error| error.code as i64, |_| 0);
    span.record("rpc.grpc.status_code", code);
    if let Err(error) = &answer {
        span.record("error.reason", &error.reason);
    }
    answer
}

/// Returns the current span as a `traceparent` (W3C Trace Context §3.2); none: there is none, or nobody keeps it.
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

/// Returns none, because the feature `opentelemetry` is off.
#[cfg(not(feature = "opentelemetry"))]
pub(crate) fn trace_parent() -> Option<MetadataValue<Ascii>> {
    None
}

#[cfg(all(test, feature = "opentelemetry"))]
mod tests {
    use super::*;
    use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn a_call_names_the_span_that_it_is_made_in() {
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            assert_eq!(trace_parent(), None, "there is no span");
            let span = tracing::info_span!("release");
            let trace_id = span.context().span().span_context().trace_id().to_string();
            let sent = span.in_scope(trace_parent).expect("a span");
            let sent = sent.to_str().expect("ASCII").to_owned();
            let parts: Vec<&str> = sent.split('-').collect();
            assert_eq!((parts[0], parts[1], parts[2].len(), parts[3]), ("00", trace_id.as_str(), 16, "01"), "{sent}");
        });
    }
}
