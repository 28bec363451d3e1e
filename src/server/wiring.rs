//! Connects the parts of the server and runs all of them: read top to bottom.
//!
//! Every background task is spawned here and ends here.

use std::any::Any;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;
use tower::util::{BoxCloneSyncService, MapResponseLayer};
use tower_http::catch_panic::CatchPanicLayer;

use super::config::{Config, ListenConfig, StorageConfig, WatchConfig};
use super::console::serve_console;
use super::data_dir::DataDir;
use super::denials::Denials;
use super::issuers::JwksRefresher;
use super::key_checkpoint;
use super::metrics::Metrics;
use super::observe::ObserveLayer;
use super::tls_files::PortTls;
use super::{clock, revocations, tasks};
use crate::api::pb;
use crate::api::pb::admin_service_server::AdminServiceServer;
use crate::api::pb::policy_service_server::PolicyServiceServer;
use crate::api::pb::sync_service_server::SyncServiceServer;
use crate::api::status::status;
use crate::auth::{LocalIssuer, PeerCertificate, Verifier};
use crate::domain::event::Head;
use crate::domain::limits::{CONTENT_MAX_BYTES, IMPORT_REQUEST_MAX_BYTES, REQUEST_MAX_BYTES};
use crate::domain::{Error, Reason};
use crate::grpc::health_pb::health_server::HealthServer;
use crate::grpc::{
    AdminHandler, AdmitLayer, AnswersLayer, AuthenticateLayer, DatabaseWaitLayer, DeadlineLayer, Handler,
    HealthHandler, InFlight, OpenStreamsLayer, PolicyHandler, Recheck, RequestBodyLayer, StreamRoutes, SyncHandler,
    WatchHandler, WatchSettings, health_pb, rewrite_transport_error,
};
use crate::http::console::{LiveSettings, SignInProvider};
use crate::service::{LongReads, Service};
use crate::store::{Store, Wake};
use crate::transport::{GrpcService, Listener, PlainStatusMessageLayer, ProtocolLayer, StallGuardLayer, spawn_http};
use crate::watch::{Hub, Leases};

/// Timeout for writing the last reports, and for the last denials.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts that a server is made of.
#[derive(Debug)]
pub struct ServerParts {
    pub config: Config,
    /// TLS of the gRPC port; `None`: plaintext.
    pub tls: Option<Arc<PortTls>>,
    pub store: Store,
    pub service: Arc<Service>,
    pub hub: Arc<Hub>,
    pub leases: Arc<Leases>,
    pub verifier: Arc<Verifier>,
    /// The head up to which the log of `system` was searched for revocations.
    pub revocations_seen: Head,
    /// One refresher for each identity provider.
    pub jwks_refreshers: Vec<JwksRefresher>,
    pub issuer: LocalIssuer,
    /// Kept until the end, because dropping them releases their locks.
    pub data_dir: DataDir,
    pub _database_lock: Option<File>,
    pub grpc: TcpListener,
    pub http: TcpListener,
    /// The socket of the console, and the secret of its sessions.
    pub console: Option<(TcpListener, [u8; 32])>,
    /// The providers at which people sign in to the console.
    pub sign_in: Vec<Arc<dyn SignInProvider>>,
}

/// Serves until `stopped`, then drains: not ready, streams told to reconnect, calls finished, ended at the latest after the drain
/// timeout, whatever clients do (docs/guarantees.md#g22).
///
/// # Errors
/// A background task fails.
pub async fn serve_until(parts: ServerParts, stopped: CancellationToken) -> Result<()> {
    let draining = CancellationToken::new();
    let metrics = Metrics::new()?;
    observe(&metrics, &parts);

    let (is_serving, health) = tokio::sync::watch::channel(true);
    let health_service = HealthServer::new(HealthHandler(health)).max_decoding_message_size(REQUEST_MAX_BYTES);
    let Config { listen, watch, connections, storage, .. } = parts.config;
    let head_timeout = connections.handshake_timeout;
    let settings = watch_settings(&watch, parts.store.is_postgres());
    metrics.show_watches(&settings);
    let recheck = recheck(&parts.verifier, &watch);
    let handler = Handler::new(parts.service.clone(), clock::now);
    let services = add_services(Routes::new(health_service), &handler);
    let denials = Arc::new(Denials::new(Instant::now()));
    let tls = parts.tls.as_ref().map(|tls| tls.config());
    let uses = (parts.service.clone(), parts.verifier.clone());
    let observed = (metrics.clone(), denials.clone());
    let live = LiveSettings { draining: draining.clone(), recheck_interval: watch.recheck_interval };
    let opened = (live, parts.sign_in);
    let console = serve_console(parts.console, (&listen, tls.clone(), head_timeout), uses, observed, opened)?;
    let routes = if listen.reflection { add_reflection(services)? } else { services };
    let observe = ObserveLayer::new(metrics.clone(), denials.clone());
    let budgets = budgets(&listen, &metrics, parts.service.long_reads.clone());
    let routes = StreamRoutes::new(WatchHandler { handler, settings, recheck }, routes.prepare());
    let service = layered(routes, observe, parts.verifier.clone(), parts.service.clone(), budgets);
    let listener = Listener {
        socket: parts.grpc,
        tls,
        with_certificate,
        limits: connections,
        drain_timeout: listen.drain_timeout,
        metrics: metrics.connections(),
        service,
    };
    let mut grpc = std::pin::pin!(listener.serve(draining.clone()));

    let text = metrics.clone();
    let router =
        crate::http::router(parts.service.clone(), draining.clone(), Arc::new(move || text.text()), Handle::current());
    let mut background = JoinSet::new();
    spawn_keepers(&mut background, (&parts.hub, &parts.leases), &parts.store, &parts.service, &watch);
    background.spawn(tasks::sum_up_denials(denials));
    background.spawn(revocations::follow(parts.service.clone(), parts.verifier.clone(), parts.revocations_seen));
    for refresher in parts.jwks_refreshers {
        background.spawn(refresher.run(parts.verifier.clone(), metrics.clone()));
    }
    if let Some(tls) = parts.tls {
        metrics.show_certificate(&tls);
        background.spawn(tasks::watch_tls_files(tls, parts.verifier, metrics.clone()));
    }
    spawn_pollers(&mut background, &parts.service, watch.audit_interval, &parts.data_dir);
    let denying = parts.service.clone();
    background.spawn(tasks::housekeeping(parts.service, parts.issuer, parts.data_dir.admin_token()));
    background.spawn(spawn_http(parts.http, router, head_timeout)?);
    background.spawn(console);
    if parts.store.is_postgres() && watch.listen_notify {
        spawn_notifications(&mut background, &storage, parts.store.clone(), parts.hub.clone(), metrics);
    }

    tokio::select! {
        () = &mut grpc => anyhow::bail!("the gRPC port ended before it was told to"),
        // A background task must not end by itself: without it the server would go on but send subscribers nothing new.
        _ = background.join_next() => anyhow::bail!("a background task ended; see the log"),
        () = stopped.cancelled() => {}
    }
    tracing::info!("draining");
    is_serving.send_replace(false);
    draining.cancel();
    grpc.await;
    background.shutdown().await;
    write_the_last(&parts.leases, &denying).await;
    Ok(())
}

/// Writes the last reports of subscribers and the last denials, within a time limit.
async fn write_the_last(leases: &Leases, service: &Service) {
    if tokio::time::timeout(LAST_FLUSH_TIMEOUT, leases.flush(true)).await.is_err() {
        tracing::warn!("the last reports of subscribers were not written in time");
    }
    if !matches!(tokio::time::timeout(LAST_FLUSH_TIMEOUT, service.access.write_denials()).await, Ok(Ok(_))) {
        tracing::warn!("who was refused last was not written down in time");
    }
}

/// Shows every part of the server in its metrics.
fn observe(metrics: &Metrics, parts: &ServerParts) {
    metrics.observe_store(&parts.store);
    metrics.watch(&parts.hub.counts());
    metrics.observe_leases(parts.leases.clone());
    metrics.observe_service(parts.service.clone());
    metrics.observe_audits(parts.service.clone());
    metrics.observe_frozen(parts.service.clone());
}

/// Returns the memory budgets of requests and of responses, and the permits of long reads.
fn budgets(listen: &ListenConfig, metrics: &Metrics, long_reads: LongReads) -> (RequestBodyLayer, AnswersLayer) {
    let requests = InFlight::of_requests(listen.max_in_flight_bytes);
    let answers = InFlight::of_answers(listen.max_in_flight_bytes);
    metrics.observe_in_flight(&requests, &answers);
    let requests = RequestBodyLayer::new(listen.max_content_bytes, requests);
    (requests, AnswersLayer::new(answers, long_reads))
}

/// Builds the middleware that every call passes, in this order.
fn layered(
    routes: StreamRoutes<Routes>,
    observe: ObserveLayer,
    verifier: Arc<Verifier>,
    service: Arc<Service>,
    (requests, answers): (RequestBodyLayer, AnswersLayer),
) -> GrpcService {
    let calls = ServiceBuilder::new()
        .layer(ProtocolLayer)
        // The layers below see a gRPC call, and apply its limits.
        .layer(GrpcWebLayer::new())
        .layer(StallGuardLayer)
        .layer(PlainStatusMessageLayer)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(observe)
        .layer(DeadlineLayer)
        .layer(DatabaseWaitLayer)
        .layer(MapResponseLayer::new(rewrite_transport_error::<Body>))
        .layer(AuthenticateLayer::new(verifier, clock::now))
        .layer(OpenStreamsLayer::default())
        .layer(AdmitLayer::new(service, clock::now))
        .layer(requests)
        .layer(answers);
    BoxCloneSyncService::new(calls.service(routes))
}

fn recheck(verifier: &Arc<Verifier>, config: &WatchConfig) -> Recheck {
    Recheck { verifier: verifier.clone(), interval: config.recheck_interval, monotonic: clock::monotonic }
}

fn watch_settings(config: &WatchConfig, has_replicas: bool) -> WatchSettings {
    WatchSettings::new(config.max_streams, config.heartbeat_interval, config.recheck_interval, has_replicas)
}

/// Spawns what keeps the streams, the leases, the memory and the check workers of this replica up to date.
fn spawn_keepers(
    background: &mut JoinSet<()>,
    (hub, leases): (&Arc<Hub>, &Arc<Leases>),
    store: &Store,
    service: &Arc<Service>,
    watch: &WatchConfig,
) {
    let (tailed, beating, leases, watched) = (hub.clone(), hub.clone(), leases.clone(), store.clone());
    let (poll_interval, heartbeat_interval) = (watch.poll_interval, watch.heartbeat_interval);
    background.spawn(async move { tailed.tail(poll_interval).await });
    background.spawn(async move { beating.send_heartbeats(heartbeat_interval).await });
    background.spawn(async move { leases.keep().await });
    background.spawn(async move { watched.watch_health().await });
    let checking = service.clone();
    background.spawn(async move { checking.policies.keep_check_workers_ready().await });
    background.spawn(tasks::keep_memory(store.clone()));
    background.spawn(tasks::monitor_store(store.clone(), service.clone()));
}

/// Spawns the pollers: what other replicas changed and thawed, what is due, and whether the logs are intact.
fn spawn_pollers(background: &mut JoinSet<()>, service: &Arc<Service>, audit_interval: Duration, data_dir: &DataDir) {
    background.spawn(tasks::follow_quotas(service.clone()));
    background.spawn(tasks::follow_keys(service.clone()));
    background.spawn(key_checkpoint::write_when_moved(service.clone(), data_dir.key_checkpoint()));
    background.spawn(tasks::follow_thaws(service.clone()));
    background.spawn(tasks::write_denials(service.clone()));
    background.spawn(tasks::run_schedules(service.clone()));
    if !audit_interval.is_zero() {
        service.archive.freeze_by_audits();
        background.spawn(tasks::audit(service.clone(), audit_interval));
    }
}

/// Connects commits and tailers: commits of this replica wake the others, and theirs wake its tailer.
fn spawn_notifications(
    background: &mut JoinSet<()>,
    storage: &StorageConfig,
    store: Store,
    hub: Arc<Hub>,
    metrics: Metrics,
) {
    let replica = uuid::Uuid::now_v7().to_string();
    let (announcer, sender) = (store.clone(), replica.clone());
    background.spawn(async move { announcer.announce(&sender).await });
    let url = storage.listen_url.as_ref().unwrap_or(&storage.database_url).expose().to_owned();
    background.spawn(async move {
        let wake = move |cause| {
            metrics.woken(&cause);
            match cause {
                Wake::Notified(namespaces) => hub.note_moved(namespaces),
                Wake::Unnamed | Wake::Connected => hub.poll(),
            }
        };
        store.listen(&url, &replica, wake).await;
    });
}

fn add_services(routes: Routes, handler: &Handler) -> Routes {
    // Contents arrive by Draft; RequestBodyLayer bounds the others, and the limit of a content is checked below both.
    let policy_limit = CONTENT_MAX_BYTES + REQUEST_MAX_BYTES;
    let policy = PolicyServiceServer::new(PolicyHandler(handler.clone())).max_decoding_message_size(policy_limit);
    let sync = SyncServiceServer::new(SyncHandler(handler.clone())).max_decoding_message_size(REQUEST_MAX_BYTES);
    let admin =
        AdminServiceServer::new(AdminHandler(handler.clone())).max_decoding_message_size(IMPORT_REQUEST_MAX_BYTES);
    routes.add_service(policy).add_service(sync).add_service(admin)
}

fn add_reflection(routes: Routes) -> Result<Routes> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
            .register_encoded_file_descriptor_set(health_pb::DESCRIPTORS)
    };
    // RequestBodyLayer decompresses all others. A decompressed message has the same limit.
    let v1 = builder().build_v1()?.max_decoding_message_size(REQUEST_MAX_BYTES);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(REQUEST_MAX_BYTES);
    let (v1, v1alpha) = (v1.accept_compressed(Gzip), v1alpha.accept_compressed(Gzip));
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// Answers a call whose handler panicked: only this call fails.
fn panicked(_: Box<dyn Any + Send>) -> http::Response<Body> {
    status(Error::new(Reason::Internal, "internal error")).into_http()
}

/// Adds the certificate of a client to the extensions of all requests of its connection.
fn with_certificate(chain: Vec<CertificateDer<'static>>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(Arc::new(PeerCertificate::new(chain)));
    extensions
}
