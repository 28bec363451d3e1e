//! Metrics, in the Prometheus text format at `/metrics`.

use std::time::Duration;

use anyhow::Result;
use opentelemetry::metrics::{Counter, Histogram, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

/// Upper bounds of the time from request to first answer, in seconds. For a watch that is its opening, so long streams
/// need no buckets of their own.
const LATENCY_BUCKETS_SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// What the server counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    calls: Counter<u64>,
    latency: Histogram<f64>,
    // Dropping the provider would end its instruments.
    _provider: SdkMeterProvider,
}

impl Metrics {
    /// Empty counters.
    ///
    /// # Errors
    /// When the registry refuses a collector.
    pub fn new() -> Result<Self> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter_with_scope(InstrumentationScope::builder("policyhub").build());
        let calls = meter.u64_counter("policyhub_rpc_calls").with_description("calls by method and code").build();
        let latency = meter
            .f64_histogram("policyhub_rpc_latency_seconds")
            .with_description("time from a call to its first answer")
            .with_boundaries(LATENCY_BUCKETS_SECONDS.to_vec())
            .build();
        Ok(Self { registry, calls, latency, _provider: provider })
    }

    /// Counts one call. `method` is one of the proto's: nothing a caller invents becomes a label.
    pub(super) fn called(&self, method: &'static str, code: tonic::Code, elapsed: Duration) {
        let method = KeyValue::new("method", method);
        self.calls.add(1, &[method.clone(), KeyValue::new("code", format!("{code:?}"))]);
        self.latency.record(elapsed.as_secs_f64(), &[method]);
    }

    /// The text of a scrape.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "failed to write the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}
