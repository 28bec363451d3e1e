//! Counts of the requests of the console.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

/// The instruments of the console.
#[derive(Debug, Clone)]
pub(super) struct ConsoleRequests {
    requests: Counter<u64>,
    latency: Histogram<f64>,
}

impl ConsoleRequests {
    /// Creates them. `buckets` are those of latencies, in seconds.
    pub(super) fn new(meter: &Meter, buckets: &[f64]) -> Self {
        let requests = meter.u64_counter("policyhub_console_requests");
        let latency = meter.f64_histogram("policyhub_console_latency_seconds");
        Self {
            requests: requests.with_description("requests of the console by route and status").build(),
            latency: latency
                .with_description("time from a request of the console to its answer")
                .with_boundaries(buckets.to_vec())
                .build(),
        }
    }

    /// Counts one request. `route` is one of the table of routes: callers can't create labels.
    pub(super) fn answered(&self, route: &'static str, status: u16, elapsed: Duration) {
        let route = KeyValue::new("route", route);
        self.requests.add(1, &[route.clone(), KeyValue::new("status", i64::from(status))]);
        self.latency.record(elapsed.as_secs_f64(), &[route]);
    }
}
