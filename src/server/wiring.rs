//! What is connected with what, and everything that runs: read top to bottom.
//!
//! Every background task is spawned here and ends here.

use std::any::Any;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tower::util::MapResponseLayer;
use tower_http::catch_panic::CatchPanicLayer;

use super::config::{Config, ListenConfig};
use super::data_dir::DataDir;
use super::metrics::Metrics;
use super::observe::ObserveLayer;
use super::{clock, tasks};
use crate::api::pb;
use crate::api::pb::admin_service_server::AdminServiceServer;
use crate::api::pb::policy_service_server::PolicyServiceServer;
use crate::api::pb::sync_service_server::SyncServiceServer;
use crate::api::status::status;
use crate::auth::{LocalIssuer, Verifier};
use crate::domain::limits::{CONTENT_MAX_BYTES, REQUEST_MAX_BYTES};
use crate::domain::{Error, Reason};
use crate::grpc::authenticate::AuthenticateLayer;
use crate::grpc::{AdminHandler, Handler, PolicyHandler, SyncHandler, WatchSettings, frames, transport_errors};
use crate::service::Service;
use crate::watch::{Hub, Leases};

/// Streams and calls of one connection at once. tonic's default is no limit.
const STREAMS_PER_CONNECTION_MAX: u32 = 100;
/// Between two pings to a silent client, and how long it may take to answer: a dead peer is gone after 50 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a TLS handshake may take: a silent socket is not kept.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Resets a connection may cause and have pending before it is closed (RUSTSEC-2024-0003, RUSTSEC-2023-0034).
const LOCAL_RESETS_MAX: usize = 64;
const PENDING_RESETS_MAX: usize = 20;
/// Largest header list of a request: a token and trace headers fit.
const HEADER_LIST_MAX_BYTES: u32 = 16 * 1024;
/// How long writing the last reports may take.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Names of the services, for health.
const SERVICES: [&str; 4] = ["", "policyhub.v1.PolicyService", "policyhub.v1.SyncService", "policyhub.v1.AdminService"];

/// All that a server is made of.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    /// Made by [`transport`], which refuses unusable TLS files before anybody is told that the server serves.
    pub transport: Server,
    pub service: Arc<Service>,
    pub hub: Arc<Hub>,
    pub leases: Arc<Leases>,
    pub verifier: Arc<Verifier>,
    pub issuer: LocalIssuer,
    /// Ours until the end: their locks go with them.
    pub data_dir: DataDir,
    pub database_lock: Option<File>,
    pub grpc: TcpListener,
    pub http: TcpListener,
}

/// Serves until `stopped`, then drains: not ready, streams told to reconnect, calls finished, ended at the latest after
/// the drain timeout, whatever clients do (G22).
///
/// # Errors
/// When a listener fails.
pub async fn serve_until(parts: Parts, stopped: CancellationToken) -> Result<()> {
    let Parts { config, transport, service, hub, leases, verifier, issuer, data_dir, database_lock: _lock, grpc, http } =
        parts;
    let draining = CancellationToken::new();
    let metrics = Metrics::new()?;
    metrics.watch(&hub.counts());
    metrics.observe_leases(leases.clone());

    let (health, health_service) = tonic_health::server::health_reporter();
    for name in SERVICES {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
    let watch = WatchSettings { heartbeat_interval: config.watch.heartbeat_interval, draining: draining.clone() };
    let routes = add_reflection(add_services(Routes::new(health_service), &service, watch))?;

    // Every call passes these, in this order.
    let server = transport
        .layer(CatchPanicLayer::custom(panicked))
        .layer(ObserveLayer::new(metrics.clone()))
        .layer(MapResponseLayer::new(transport_errors::rewrite::<tonic::body::Body>))
        .layer(AuthenticateLayer::new(verifier, clock::now))
        .layer(MapResponseLayer::new(frames::attach))
        .add_routes(routes);
    let incoming = TcpIncoming::from(grpc).with_nodelay(Some(true));
    let told = draining.clone();
    let grpc = server.serve_with_incoming_shutdown(incoming, async move { told.cancelled().await });

    let text = metrics.clone();
    let router = crate::http::router(service.clone(), draining.clone(), Arc::new(move || text.text()));

    let mut background = JoinSet::new();
    let poll_interval = config.watch.poll_interval;
    background.spawn(async move { hub.tail(poll_interval).await });
    let kept = leases.clone();
    background.spawn(async move { kept.keep().await });
    background.spawn(tasks::housekeeping(service, issuer, data_dir.admin_token()));
    background.spawn(async move {
        if let Err(error) = axum::serve(http, router).await {
            tracing::error!(%error, "the HTTP port failed");
        }
    });

    let mut grpc = std::pin::pin!(grpc);
    tokio::select! {
        ended = &mut grpc => return ended.context("the gRPC port failed"),
        // None of them ends by itself: without it the server would serve and tell nobody anything new.
        _ = background.join_next() => anyhow::bail!("a background task ended; see the log"),
        () = stopped.cancelled() => {}
    }
    tracing::info!("draining");
    for name in SERVICES {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    draining.cancel();
    if tokio::time::timeout(config.listen.drain_timeout, grpc).await.is_err() {
        tracing::warn!("some connections did not end in time; closing them");
    }
    background.shutdown().await;
    if tokio::time::timeout(LAST_FLUSH_TIMEOUT, leases.flush(true)).await.is_err() {
        tracing::warn!("the last reports of subscribers were not written in time");
    }
    Ok(())
}

/// The transport of gRPC, with its limits and its TLS.
///
/// # Errors
/// When the TLS files are unusable.
pub fn transport(listen: &ListenConfig) -> Result<Server> {
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_header_list_size(HEADER_LIST_MAX_BYTES);
    let Some(tls) = &listen.tls else { return Ok(server) };
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| format!("failed to read the TLS file {}", path.display()))
    };
    let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
    server
        .tls_config(ServerTlsConfig::new().identity(identity).timeout(TLS_HANDSHAKE_TIMEOUT))
        .context("failed to use the TLS certificate and key")
}

fn add_services(routes: Routes, service: &Arc<Service>, watch: WatchSettings) -> Routes {
    let handler = Handler::new(service.clone(), clock::now);
    // Contents come in by Draft; the limit of its content is checked in its own words below this one.
    let policy_limit = CONTENT_MAX_BYTES + REQUEST_MAX_BYTES;
    let policy = PolicyServiceServer::new(PolicyHandler(handler.clone())).max_decoding_message_size(policy_limit);
    let sync = SyncServiceServer::new(SyncHandler { handler: handler.clone(), watch })
        .max_decoding_message_size(REQUEST_MAX_BYTES);
    let admin = AdminServiceServer::new(AdminHandler(handler)).max_decoding_message_size(REQUEST_MAX_BYTES);
    routes.add_service(policy).add_service(sync).add_service(admin)
}

fn add_reflection(routes: Routes) -> Result<Routes> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

/// The answer of a handler that panicked: one call fails, nothing else does.
fn panicked(_: Box<dyn Any + Send>) -> http::Response<tonic::body::Body> {
    status(Error::new(Reason::Internal, "internal error")).into_http()
}
