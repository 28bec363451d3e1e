//! What is connected with what, and everything that runs: read top to bottom.
//!
//! Every background task is spawned here and ends here.

use std::any::Any;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tower::util::{BoxCloneSyncService, MapResponseLayer};
use tower::{ServiceBuilder, ServiceExt as _};
use tower_http::catch_panic::CatchPanicLayer;

use super::config::Config;
use super::data_dir::DataDir;
use super::listen::Listener;
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
use crate::grpc::deadline::DeadlineLayer;
use crate::grpc::request_limit::RequestLimitLayer;
use crate::grpc::{AdminHandler, Handler, PolicyHandler, SyncHandler, WatchSettings, frames, transport_errors};
use crate::service::Service;
use crate::watch::{Hub, Leases};

/// How long writing the last reports may take.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Names of the services, for health.
const SERVICES: [&str; 4] = ["", "policyhub.v1.PolicyService", "policyhub.v1.SyncService", "policyhub.v1.AdminService"];

/// All that a server is made of.
#[derive(Debug)]
pub struct Parts {
    pub config: Config,
    /// The identity of the gRPC port; without one it is plaintext.
    pub tls: Option<Arc<ServerConfig>>,
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
/// When a background task fails.
pub async fn serve_until(parts: Parts, stopped: CancellationToken) -> Result<()> {
    let Parts { config, tls, service, hub, leases, verifier, issuer, data_dir, database_lock: _lock, grpc, http } =
        parts;
    let draining = CancellationToken::new();
    let metrics = Metrics::new()?;
    metrics.watch(&hub.counts());
    metrics.observe_leases(leases.clone());

    let (health, health_service) = tonic_health::server::health_reporter();
    for name in SERVICES {
        health.set_service_status(name, ServingStatus::Serving).await;
    }
    let watch = WatchSettings::new(config.watch.heartbeat_interval, config.watch.max_streams);
    metrics.show_watches(&watch);
    let health_service = health_service.max_decoding_message_size(REQUEST_MAX_BYTES);
    let routes = add_reflection(add_services(Routes::new(health_service), &service, watch))?;

    // Every call passes these, in this order.
    let calls = ServiceBuilder::new()
        .layer(CatchPanicLayer::custom(panicked))
        .layer(ObserveLayer::new(metrics.clone()))
        .layer(DeadlineLayer)
        .layer(MapResponseLayer::new(transport_errors::rewrite::<Body>))
        .layer(AuthenticateLayer::new(verifier, clock::now))
        .layer(RequestLimitLayer::new(config.listen.max_content_bytes))
        .layer(MapResponseLayer::new(frames::attach))
        .service(routes.prepare());
    let listener = Listener {
        socket: grpc,
        tls,
        limits: config.connections,
        drain_timeout: config.listen.drain_timeout,
        metrics: metrics.clone(),
        service: BoxCloneSyncService::new(calls.map_response(|response| response.map(Body::new))),
    };
    let grpc = listener.serve(draining.clone());

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
        () = &mut grpc => anyhow::bail!("the gRPC port ended before it was told to"),
        // None of them ends by itself: without it the server would serve and tell nobody anything new.
        _ = background.join_next() => anyhow::bail!("a background task ended; see the log"),
        () = stopped.cancelled() => {}
    }
    tracing::info!("draining");
    for name in SERVICES {
        health.set_service_status(name, ServingStatus::NotServing).await;
    }
    draining.cancel();
    grpc.await;
    background.shutdown().await;
    if tokio::time::timeout(LAST_FLUSH_TIMEOUT, leases.flush(true)).await.is_err() {
        tracing::warn!("the last reports of subscribers were not written in time");
    }
    Ok(())
}

fn add_services(routes: Routes, service: &Arc<Service>, watch: WatchSettings) -> Routes {
    let handler = Handler::new(service.clone(), clock::now);
    // Contents come in by Draft; RequestLimitLayer bounds the others, and the limit of a content is checked below both.
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
    let v1 = builder().build_v1()?.max_decoding_message_size(REQUEST_MAX_BYTES);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(REQUEST_MAX_BYTES);
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// The answer of a handler that panicked: one call fails, nothing else does.
fn panicked(_: Box<dyn Any + Send>) -> http::Response<Body> {
    status(Error::new(Reason::Internal, "internal error")).into_http()
}
