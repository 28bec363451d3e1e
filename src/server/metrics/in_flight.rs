//! Shows the memory of requests and responses in flight as metrics.

use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;

use super::Metrics;
use crate::grpc::{InFlight, InFlightCounts};

impl Metrics {
    /// Shows the memory of requests and responses in flight.
    pub(in crate::server) fn observe_in_flight(&self, requests: &InFlight, answers: &InFlight) {
        let observe = |read: fn(InFlightCounts) -> u64| {
            let budgets = [("requests", requests.clone()), ("answers", answers.clone())];
            move |to: &dyn AsyncInstrument<u64>| {
                for (of, budget) in &budgets {
                    to.observe(read(budget.counts()), &[KeyValue::new("of", *of)]);
                }
            }
        };
        self.meter
            .u64_observable_gauge("policyhub_in_flight_bytes")
            .with_description("memory that is reserved for requests and for answers in flight")
            .with_callback(observe(|counts| counts.used_bytes))
            .build();
        self.meter
            .u64_observable_counter("policyhub_in_flight_refusals")
            .with_description("calls refused because there was no memory for their requests or answers")
            .with_callback(observe(|counts| counts.refusals))
            .build();
        self.meter
            .u64_observable_counter("policyhub_in_flight_given_up")
            .with_description(
                "requests ended because they were not sent on while others waited, and answers that nobody took",
            )
            .with_callback(observe(|counts| counts.given_up))
            .build();
    }
}
