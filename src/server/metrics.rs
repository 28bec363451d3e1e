//! Metrics, in the Prometheus text format at `/metrics`.

mod connections;
mod console;
mod in_flight;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use opentelemetry::metrics::{AsyncInstrument, Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tonic::Code;

use self::connections::Connections;
use self::console::ConsoleRequests;
use super::tls_files::PortTls;
use crate::grpc::WatchSettings;
use crate::service::Service;
use crate::store::{Store, Wake};
use crate::transport::ConnectionMetrics;
use crate::watch::{Leases, WatchCounts};

/// Upper bounds of the time from request to first answer, in seconds. For a watch that is the time to open it, so long streams need
/// no buckets of their own.
const LATENCY_BUCKETS_SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Reads the values of a counter, each with its label.
type ReadCounts = fn(&WatchCounts) -> Vec<(Option<(&'static str, &'static str)>, u64)>;

/// The metrics of the server.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    meter: Meter,
    calls: Counter<u64>,
    latency: Histogram<f64>,
    connections: Connections,
    wakes: Counter<u64>,
    reloads: Counter<u64>,
    denied: Counter<u64>,
    console: ConsoleRequests,
    // Dropping the provider would end its instruments.
    _provider: SdkMeterProvider,
}

impl Metrics {
    /// Creates empty counters.
    ///
    /// # Errors
    /// The registry refuses a collector.
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
        let connections = Connections::new(&meter);
        let wakes = meter
            .u64_counter("policyhub_tailer_wakes")
            .with_description("times the tailer was woken from outside, by cause")
            .build();
        let reloads = meter
            .u64_counter("policyhub_reloads")
            .with_description("reads of TLS files and of issuers' keys while serving, by source and result")
            .build();
        let denied = meter
            .u64_counter("policyhub_denied_calls")
            .with_description("calls refused for who asked, by reason")
            .build();
        let console = ConsoleRequests::new(&meter, &LATENCY_BUCKETS_SECONDS);
        Ok(Self { registry, calls, latency, connections, wakes, reloads, denied, console, meter, _provider: provider })
    }

    /// Shows the counters of watches.
    pub(super) fn watch(&self, counts: &Arc<WatchCounts>) {
        let written = "messages of watches written, each for all who want the same";
        self.show("policyhub_watch_messages_written", written, counts, |counts| {
            vec![
                (Some(("kind", "activation")), counts.activations_written.get()),
                (Some(("kind", "snapshot")), counts.snapshot_parts_written.get()),
                (Some(("kind", "heartbeat")), counts.heartbeats_written.get()),
            ]
        });
        let taken = "messages of watches that streams took";
        self.show("policyhub_watch_messages_taken", taken, counts, |counts| vec![(None, counts.messages_taken.get())]);
        let given_up = "watches closed because their reader took nothing";
        self.show("policyhub_watch_given_up", given_up, counts, |counts| vec![(None, counts.streams_given_up.get())]);
        let pages = "pages of the log read for subscribers behind the ring";
        self.show("policyhub_watch_pages_read", pages, counts, |counts| vec![(None, counts.pages_read.get())]);
        let released = "activations that rings released for the budget of all";
        self.show("policyhub_watch_ring_releases", released, counts, |counts| {
            vec![(None, counts.frames_released.get())]
        });
        let looks = "looks of the tailer at the heads of logs";
        self.show("policyhub_tailer_looks", looks, counts, |counts| vec![(None, counts.looks.get())]);
        let compared = "feeds that the tailer compared with the heads of their logs";
        self.show("policyhub_tailer_feeds", compared, counts, |counts| vec![(None, counts.feeds_compared.get())]);
        let rounds = "head reads, each for all reads of what is active that began before it";
        self.show("policyhub_head_rounds", rounds, counts, |counts| vec![(None, counts.head_rounds.get())]);
    }

    fn show(&self, name: &'static str, description: &'static str, counts: &Arc<WatchCounts>, read: ReadCounts) {
        let counts = Arc::clone(counts);
        let observed = self.meter.u64_observable_counter(name).with_description(description).with_callback(move |to| {
            for (label, value) in read(&counts) {
                let labels: Vec<KeyValue> = label.map(|(key, value)| KeyValue::new(key, value)).into_iter().collect();
                to.observe(value, &labels);
            }
        });
        observed.build();
    }

    /// Shows what subscribers reported to this replica, and how many have a stream here.
    pub(super) fn observe_leases(&self, leases: Arc<Leases>) {
        let kept = leases.clone();
        let reports =
            self.meter.u64_observable_counter("policyhub_reports").with_description("reports of subscribers by status");
        reports
            .with_callback(move |reports| {
                let (applied, rejected) = kept.reports();
                reports.observe(applied, &[KeyValue::new("status", "applied")]);
                reports.observe(rejected, &[KeyValue::new("status", "rejected")]);
            })
            .build();
        self.meter
            .u64_observable_gauge("policyhub_subscribers_online")
            .with_description("subscribers with an id that have a stream on this replica")
            .with_callback(move |online| online.observe(leases.online() as u64, &[]))
            .build();
    }

    /// Shows how often approvals were skipped or lowered, and how often a quota refused a call.
    pub(super) fn observe_service(&self, service: Arc<Service>) {
        let (refusing, checking, lowering) = (service.clone(), service.clone(), service.clone());
        let scheduling = service.clone();
        self.meter
            .u64_observable_counter("policyhub_schedule_runs")
            .with_description(
                "schedules that were due, by what became of the run; each is counted by the replica that did it",
            )
            .with_callback(move |runs| {
                for (result, count) in scheduling.policies.ended_schedule_runs() {
                    runs.observe(count, &[KeyValue::new("result", result)]);
                }
            })
            .build();
        self.meter
            .u64_observable_counter("policyhub_break_glass")
            .with_description("publications without the approvals they should have had")
            .with_callback(move |broken| broken.observe(service.policies.broken_glass(), &[]))
            .build();
        self.meter
            .u64_observable_counter("policyhub_required_approvals_lowered")
            .with_description("changes of a policy after which it requires fewer approvals than before")
            .with_callback(move |lowered| lowered.observe(lowering.policies.lowered_approvals(), &[]))
            .build();
        self.meter
            .u64_observable_counter("policyhub_quota_refusals")
            .with_description("calls refused because of a quota of their namespace or caller, by quota")
            .with_callback(move |refusals| {
                for (quota, count) in refusing.access.quota_refusals() {
                    refusals.observe(count, &[KeyValue::new("quota", quota.as_str())]);
                }
            })
            .build();
        let left = checking.clone();
        self.meter
            .u64_observable_counter("policyhub_checks_over_limit")
            .with_description("checks that ended without an answer, by the limit that ended them")
            .with_callback(move |ended| {
                for (limit, count) in checking.policies.ended_checks().0 {
                    ended.observe(count, &[KeyValue::new("limit", limit.as_str())]);
                }
            })
            .build();
        self.meter
            .u64_observable_counter("policyhub_abandoned_checks")
            .with_description("checks whose callers left before they had an answer")
            .with_callback(move |abandoned| abandoned.observe(left.policies.ended_checks().1, &[]))
            .build();
    }

    /// Shows the findings of the checks of the logs.
    pub(super) fn observe_audits(&self, service: Arc<Service>) {
        let (checks, events) = (service.clone(), service.clone());
        self.meter
            .u64_observable_counter("policyhub_audit_events")
            .with_description("events that checks of logs verified")
            .with_callback(move |verified| verified.observe(events.archive.audited_events(), &[]))
            .build();
        self.meter
            .u64_observable_counter("policyhub_audit_checks")
            .with_description("checks of the log of a namespace, or of what it gained since the last one")
            .with_callback(move |checked| checked.observe(checks.archive.audit_counts().0, &[]))
            .build();
        self.meter
            .u64_observable_gauge("policyhub_audit_findings")
            .with_description("what does not hold in the logs and rows of all namespaces, as of their last check")
            .with_callback(move |findings| findings.observe(service.archive.audit_counts().1, &[]))
            .build();
    }

    /// Shows which namespaces are frozen.
    pub(super) fn observe_frozen(&self, service: Arc<Service>) {
        self.meter
            .u64_observable_gauge("policyhub_namespace_frozen")
            .with_description("1 for a namespace that takes no writes because what is stored of it does not hold")
            .with_callback(move |frozen| {
                for namespace in service.archive.frozen_namespaces() {
                    frozen.observe(1, &[KeyValue::new("namespace", namespace.to_string())]);
                }
            })
            .build();
    }

    /// Shows the state of the store.
    pub(super) fn observe_store(&self, store: &Store) {
        let gauge = |name, description, is: fn(&Store) -> bool| {
            let store = store.clone();
            let observe = move |observer: &dyn AsyncInstrument<u64>| observer.observe(u64::from(is(&store)), &[]);
            self.meter.u64_observable_gauge(name).with_description(description).with_callback(observe).build();
        };
        gauge("policyhub_database_up", "1 unless the database is known not to answer", |store| !store.is_degraded());
        gauge("policyhub_database_writable", "0 while writes are refused because the database takes none", |store| {
            !store.is_degraded() && store.write_blocker().is_none()
        });
        gauge(
            "policyhub_store_in_doubt",
            "1 while writes are refused because the store may have lost its tail",
            |store| store.suspected_loss().is_some(),
        );
        gauge(
            "policyhub_checkpoints_failing",
            "1 while SQLite's write-ahead log can't be moved into the database file",
            Store::do_checkpoints_fail,
        );
        let ahead = store.clone();
        self.meter
            .f64_observable_gauge("policyhub_log_ahead_seconds")
            .with_description("how far the newest event is ahead of the clock, which had jumped; 0 when it is not")
            .with_callback(move |seconds| seconds.observe(ahead.log_ahead_micros() as f64 / 1e6, &[]))
            .build();
        let sized = store.clone();
        self.meter
            .u64_observable_gauge("policyhub_wal_bytes")
            .with_description("bytes of SQLite's write-ahead log, 0 on PostgreSQL")
            .with_callback(move |bytes| bytes.observe(sized.wal_bytes(), &[]))
            .build();
        let counted = store.clone();
        self.meter
            .u64_observable_counter("policyhub_database_statements")
            .with_description("statements begun at the database, BEGIN among them")
            .with_callback(move |statements| statements.observe(counted.statements(), &[]))
            .build();
    }

    /// Counts a wake of the tailer.
    pub(super) fn woken(&self, wake: &Wake) {
        let cause = match wake {
            Wake::Notified(_) | Wake::Unnamed => "notify",
            Wake::Connected => "listen",
        };
        self.wakes.add(1, &[KeyValue::new("cause", cause)]);
    }

    /// Counts a read of an issuer's keys, or, with source `tls`, of TLS files that changed.
    pub(super) fn reloaded(&self, source: &str, well: bool) {
        let result = if well { "ok" } else { "failed" };
        self.reloads.add(1, &[KeyValue::new("source", source.to_owned()), KeyValue::new("result", result)]);
    }

    /// Shows until when the TLS certificate of this server is valid.
    pub(super) fn show_certificate(&self, tls: &Arc<PortTls>) {
        let tls = Arc::clone(tls);
        let name = "policyhub_tls_certificate_expiry_timestamp_seconds";
        let gauge = self.meter.i64_observable_gauge(name);
        let gauge = gauge.with_description("when the first certificate of the served TLS chain expires, Unix time");
        let observed = gauge.with_callback(move |to| {
            if let Some(validity) = tls.validity() {
                to.observe(validity.not_after_seconds, &[]);
            }
        });
        // The meter keeps the callback; the handle is not needed.
        let _ = observed.build();
    }

    /// Counts a call that was refused because of its caller. `reason` is one of the project's.
    pub(super) fn denied(&self, reason: String) {
        self.denied.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// Counts one call. `method` is one of the proto's: callers can't create labels.
    pub(super) fn called(&self, method: &'static str, code: Code, elapsed: Duration) {
        let method = KeyValue::new("method", method);
        self.calls.add(1, &[method.clone(), KeyValue::new("code", code_name(code))]);
        self.latency.record(elapsed.as_secs_f64(), &[method]);
    }

    /// Counts one request of the console.
    pub(super) fn console_answered(&self, route: &'static str, status: u16, elapsed: Duration) {
        self.console.answered(route, status, elapsed);
    }

    /// Shows how many watches are open.
    pub(super) fn show_watches(&self, watch: &WatchSettings) {
        let (slots, max) = (Arc::clone(&watch.slots), watch.max_streams);
        let gauge =
            self.meter.u64_observable_gauge("policyhub_watch_streams_open").with_description("namespaces watched now");
        let open = move || u64::try_from(max.saturating_sub(slots.available_permits())).unwrap_or(u64::MAX);
        // The meter keeps the callback; the handle is not needed.
        let _ = gauge.with_callback(move |observer| observer.observe(open(), &[])).build();
    }

    /// Returns the counters of the connections of the gRPC port.
    pub(super) fn connections(&self) -> Arc<dyn ConnectionMetrics> {
        Arc::new(self.connections.clone())
    }

    /// Returns the text of a scrape.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "failed to write the metrics");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

/// Returns the name of a code, as its label.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "Ok",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
