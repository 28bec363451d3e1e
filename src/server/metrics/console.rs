//! Counts of the requests of the console.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::{LATENCY_BUCKETS_SECONDS, Metrics};

/// The instruments of the console.
#[derive(Debug, Clone)]
pub(super) struct ConsoleRequests {
    requests: Counter<u64>,
    latency: Histogram<f64>,
}

impl ConsoleRequests {
    pub(super) fn new(meter: &Meter) -> Self {
        let requests = meter.u64_counter("policyhub_console_requests");
        let latency = meter.f64_histogram("policyhub_console_latency_seconds");
        Self {
            requests: requests.with_description("requests of the console by route and status").build(),
            latency: latency
                .with_description("time from a request of the console to its answer")
                .with_boundaries(LATENCY_BUCKETS_SECONDS.to_vec())
                .build(),
        }
    }
}

impl Metrics {
    /// Counts one request of the console. `route` is one of its table: callers can't create labels.
    pub(in crate::server) fn console_answered(&self, route: &'static str, status: u16, elapsed: Duration) {
        let route = KeyValue::new("route", route);
        self.console.requests.add(1, &[route.clone(), KeyValue::new("status", i64::from(status))]);
        self.console.latency.record(elapsed.as_secs_f64(), &[route]);
    }
}
