//! Logs to stderr, and traces to a collector when one is configured.

use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, FilterFn, LevelFilter};
use tracing_subscriber::prelude::*;

use super::config::{LogFormat, TelemetryConfig};

/// Time limit of the last traces at the end: a collector that is down must not delay the end of the server.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// What must be flushed at the end.
#[derive(Debug, Default)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logs and traces for the process. Does nothing on a second call in one process.
    ///
    /// # Errors
    /// The exporter can't be built.
    pub fn start(config: &TelemetryConfig) -> Result<Self> {
        let traces = config.otlp_endpoint.as_ref().map(|endpoint| exporter(endpoint.expose())).transpose()?;
        // Fails when a subscriber is set up already, as in a process with several servers: that one stays.
        let _ = subscriber(config, traces.as_ref())?.try_init();
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "a task panicked");
        }));
        Ok(Self { traces })
    }

    /// Exports the remaining traces.
    pub async fn stop(self) {
        if let Some(provider) = self.traces {
            let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
            if !matches!(stopped, Ok(Ok(()))) {
                tracing::warn!("failed to send the last traces");
            }
        }
    }
}

/// Returns what lines and traces are made by.
///
/// Every filter says its most verbose level, so that the spans of libraries below it (h2 has dozens in each call) are never made.
fn subscriber(
    config: &TelemetryConfig,
    traces: Option<&SdkTracerProvider>,
) -> Result<impl Subscriber + Send + Sync + use<>> {
    // The exporters' own messages are of no use to an operator.
    let directives = format!("opentelemetry=warn,opentelemetry_sdk=warn,{},sea_orm=info,sqlx=info", config.log_level);
    let filter = EnvFilter::try_new(directives).context("failed to read log_level")?;
    let without_urls = FilterFn::new(|metadata| !tells_the_url(metadata)).with_max_level_hint(LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Json => lines.json().boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    let spans = traces.map(|provider| {
        // Only our own spans: the exporter's would cause further exports without end, and the database's carry its URL.
        let ours =
            FilterFn::new(|metadata| metadata.target().starts_with("policyhub") && *metadata.level() <= Level::INFO);
        let tracer = provider.tracer("policyhub");
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours.with_max_level_hint(LevelFilter::INFO))
    });
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter.and(without_urls))).with(spans))
}

/// Returns whether a line may hold a part of the database's URL, whatever the log level is: the driver's messages about a
/// connection repeat those of PostgreSQL, which name roles, databases and options. The store logs the same without them.
fn tells_the_url(metadata: &Metadata<'_>) -> bool {
    let is_of_driver = metadata.target().starts_with("sqlx") || metadata.target().starts_with("sea_orm");
    let is_of_statement = metadata.target().starts_with("sqlx::query");
    is_of_driver && (!is_of_statement || *metadata.level() > Level::INFO)
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .context("failed to set up the trace exporter")?;
    let resource = Resource::builder().with_service_name("policyhub").build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Given each log level, with traces and without, no span of a library that is more verbose is made: it would cost more than the
    /// calls it tells about.
    #[test]
    fn spans_below_the_log_level_are_not_made() {
        let provider = SdkTracerProvider::builder().build();
        for traces in [None, Some(&provider)] {
            for (level, hint) in [("info", LevelFilter::INFO), ("info,h2=debug", LevelFilter::DEBUG)] {
                let log_level = level.to_owned();
                let config = TelemetryConfig { log_format: LogFormat::Text, log_level, otlp_endpoint: None };
                let subscriber = subscriber(&config, traces).expect("valid directives");
                assert_eq!(subscriber.max_level_hint(), Some(hint), "{level}");
            }
        }
    }
}
