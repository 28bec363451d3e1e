//! The metrics of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

use crate::transport::{CloseReason, ConnectionMetrics};

/// The counters of connections.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    open: UpDownCounter<i64>,
    accepted: Counter<u64>,
    closed: Counter<u64>,
    accept_errors: Counter<u64>,
    writes: Arc<AtomicU64>,
}

impl Connections {
    pub(super) fn new(meter: &Meter) -> Self {
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let writes = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&writes);
        meter
            .u64_observable_counter("policyhub_connection_writes")
            .with_description("writes to the sockets of gRPC connections")
            .with_callback(move |to| to.observe(counted.load(Ordering::Relaxed), &[]))
            .build();
        Self {
            open: meter
                .i64_up_down_counter("policyhub_connections_open")
                .with_description("gRPC connections open now")
                .build(),
            accepted: counter("policyhub_connections_accepted", "gRPC connections that got in"),
            closed: counter("policyhub_connections_closed", "gRPC connections closed or refused, by cause"),
            accept_errors: counter("policyhub_accept_errors", "times the kernel gave no connection"),
            writes,
        }
    }
}

impl ConnectionMetrics for Connections {
    fn opened(&self) {
        self.accepted.add(1, &[]);
        self.open.add(1, &[]);
    }

    fn closed(&self, reason: CloseReason) {
        self.open.add(-1, &[]);
        self.closed.add(1, &[KeyValue::new("cause", reason.as_str())]);
    }

    fn refused(&self, reason: CloseReason) {
        self.closed.add(1, &[KeyValue::new("cause", reason.as_str())]);
    }

    fn accept_failed(&self) {
        self.accept_errors.add(1, &[]);
    }

    fn wrote(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
}
