//! The HTTP port: probes, metrics, and the public keys. Plain HTTP/1.1, without any tenant data. The console has a port of its own.

pub mod console;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::service::{Readiness, Service};

/// Writes the metrics in the Prometheus text format.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// How long a verifier may cache the keys. Longer: a new key may sign before verifiers know it.
const JWKS_MAX_AGE_SECONDS: u32 = 60;

#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    draining: CancellationToken,
    metrics: Metrics,
    calls: Handle,
}

/// Makes the routes. `calls` is the runtime of the gRPC port, to which the database connections belong.
pub fn router(service: Arc<Service>, draining: CancellationToken, metrics: Metrics, calls: Handle) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/key-statements.json", get(key_statements))
        .with_state(Shared { service, draining, metrics, calls })
}

async fn ready(State(shared): State<Shared>) -> Response {
    if shared.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    // Ready without the database too: an outage affects all replicas, and if none were ready, clients would lose what replicas
    // serve from memory.
    let service = Arc::clone(&shared.service);
    let readiness = shared.calls.spawn(async move { service.readiness().await }).await;
    match readiness.unwrap_or_else(|_| Readiness::Down(Some("the server ends".to_owned()))) {
        Readiness::Ready => "ok\n".into_response(),
        Readiness::Degraded(why) => format!("degraded: {why}\n").into_response(),
        // Only this server has that disk. Open streams go on anyway.
        Readiness::Down(why) => {
            let why = why.unwrap_or_else(|| "the database can't be read or written".to_owned());
            (StatusCode::SERVICE_UNAVAILABLE, format!("down: {why}\n")).into_response()
        }
        // Other replicas may have the key: the balancer must use one of those.
        Readiness::NotSigning(why) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not signing: {why}\n")).into_response()
        }
        // Same reason as above; reads still work.
        Readiness::Unwritable(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("read-only: {why}\n")).into_response(),
        // All replicas share this database.
        Readiness::ReadOnly(why) => format!("read-only: {why}\n").into_response(),
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (shared.metrics)()).into_response()
}

/// Returns the key statements that lead from an older key to those of the key set. They are not a member of the key set, because
/// their size grows with the number of rotations.
async fn key_statements(State(shared): State<Shared>) -> Response {
    let cache = format!("public, max-age={JWKS_MAX_AGE_SECONDS}");
    let statements = serde_json::json!({ "key_statements": shared.service.keys.key_statements() });
    ([(header::CACHE_CONTROL, cache)], Json(statements)).into_response()
}

async fn jwks(State(shared): State<Shared>) -> Response {
    let cache = format!("public, max-age={JWKS_MAX_AGE_SECONDS}");
    ([(header::CACHE_CONTROL, cache)], Json(shared.service.keys.jwks())).into_response()
}
