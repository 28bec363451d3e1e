//! `policyhub serve` and `policyhub migrate`: from settings to a running server and its end.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use percent_encoding::percent_decode_str;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::clock;
use super::config::{Config, ConsoleConfig, KeysConfig, Settings, StorageConfig, has_stray_percent};
use super::core_dumps::forbid_core_dumps;
use super::data_dir::{DataDir, high_water, make_private_dir};
use super::issuers::JwksRefresher;
use super::key_checkpoint;
use super::keys::{ServerKeys, algorithm, local_issuer};
use super::oidc_provider::OidcProvider;
use super::revocations;
use super::startup_banner::{self, StartupBanner};
use super::tasks::{save_memory_at_end, write_admin_token};
use super::telemetry::Telemetry;
use super::tls_files::PortTls;
use super::wiring::{ServerParts, serve_until};
use crate::auth::{LocalIssuer, Verifier};
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::grpc::WatchEncoder;
use crate::http::console::SignInProvider;
use crate::service::{Service, Signer, verified_head};
use crate::signing::{RowMacKey, derive_console_secret};
use crate::store::{Database, RememberedStore, Store, migration_lock};
use crate::watch::{Hub, Leases};

/// Length of the accept queue; the kernel caps it at `net.core.somaxconn`. With the usual 128, many clients that reconnect at once
/// overflow it, and a dropped client retries only after whole seconds.
const BACKLOG_MAX_CONNECTIONS: u32 = 4_096;

/// Runs a server until SIGTERM or SIGINT.
///
/// # Errors
/// The server can't start; the error says what to do.
pub async fn run(settings: Settings) -> Result<()> {
    let config = settings.load()?;
    // No key may be read before this.
    forbid_core_dumps()?;
    #[cfg(feature = "planted-defects")]
    plant_defect()?;
    crate::auth::provider::install();
    // A dependency may bring another provider; the first one installed is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let telemetry = Telemetry::start(&config.telemetry)?;
    let stopped = stop_signal()?;
    // A stop signal also ends the start while it waits for a database or another migrator.
    let starting = stopped.clone();
    let done = match starting.run_until_cancelled(start(config)).await {
        Some(Ok((parts, store))) => {
            let done = serve_until(parts, stopped).await;
            save_memory_at_end(&store).await;
            store.close().await;
            done
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    tracing::info!("stopped");
    telemetry.stop().await;
    done
}

/// Enables the planted defect that the environment names, for tests.
#[cfg(feature = "planted-defects")]
fn plant_defect() -> Result<()> {
    let Some(name) = std::env::var_os("POLICYHUB_PLANTED_DEFECT") else { return Ok(()) };
    let name = name.to_string_lossy();
    ensure!(crate::defect::plant(&name), "failed to plant {name}: there is no such defect");
    tracing::warn!(%name, "planted a defect: this server is broken on purpose");
    Ok(())
}

/// Does everything up to the first call. Each step may fail with an error that says what to do.
async fn start(config: Config) -> Result<(ServerParts, Store)> {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    tracing::debug!(config = %config.summary(), "the configuration; `policyhub config check` prints it too");
    let data_dir = DataDir::take(&config.storage.data_dir)?;
    let remembered = RememberedStore::read(&data_dir.high_water())?;
    let grpc = bind(config.listen.grpc_addr, "--grpc-addr")?;
    let http = bind(config.listen.http_addr, "--http-addr")?;
    let console = config.listen.console.as_ref().map(bind_console).transpose()?.flatten();
    // Unusable files are refused before the server reports that it serves.
    let tls = config.listen.tls.as_ref().map(|files| PortTls::load(files, &config.auth.client_cas)).transpose()?;

    let keys = ServerKeys::load(&config.keys)?;
    let issuer = local_issuer(&config.keys.keys_dir, &config.keys.token_audience)?;
    let (verifier, jwks_refreshers) = trusted_issuers(&issuer, &config, &data_dir)?;
    let providers = sign_in_providers(&config)?;
    let tls = tls.map(|(tls, authorities)| {
        verifier.trust(authorities);
        Arc::new(tls)
    });

    let database = database(&config.storage)?;
    if let (Database::Postgres { .. }, Some(url)) = (&database, &config.storage.listen_url) {
        Database::check_listen_url(url.expose()).await?;
    }
    let database_lock = lock_file(&database, &data_dir)?;
    let tags = Arc::new(RowMacKey::derive(&keys.seal)?);
    let console_secret = derive_console_secret(&keys.seal)?;
    let store = database.open(config.storage.migrate, remembered.as_ref(), tags, clock::CLOCKS).await?;
    let signer = Arc::new(identify(&store, keys, &config.keys).await?);
    let checkpoint = key_checkpoint::read(&data_dir.key_checkpoint());
    remember(&store, &data_dir, &signer, checkpoint.as_deref()).await?;
    store.try_to_write().await;
    let hub = Hub::new(store.clone(), signer.clone(), Arc::new(WatchEncoder), config.watch.rings(), clock::now);
    let hub = Arc::new(hub);
    // A new name for each start: the leases of a server that crashed are not this one's to end.
    let holder = uuid::Uuid::now_v7().to_string();
    let max_subscribers = config.quotas.principal.max_subscribers;
    let leases = Arc::new(Leases::new(store.clone(), holder, max_subscribers, clock::now, clock::monotonic));
    let max_content_bytes = config.listen.max_content_bytes;
    let service = Service::new(store.clone(), signer, hub.clone(), leases.clone(), config.quotas, max_content_bytes);
    let service = Arc::new(service);
    let first_algorithm = algorithm(config.keys.signing_algorithm);
    let keys = service.keys.begin_keys(checkpoint.as_deref(), first_algorithm, clock::now()).await;
    let keys =
        keys.inspect_err(|error| tracing::error!(%error, detail = error.internal, "can't read the signing keys"));
    keys.context("failed to read what the log says of the signing keys")?;
    service.access.bootstrap(clock::now()).await?;
    service.access.refresh_quotas().await?;
    service.policies.warm_check_workers().await;
    // Before the first call: a revoked credential must not be accepted even for a second.
    let revocations_seen = revocations::load_new(&service, &verifier, Head::EMPTY).await?;

    let sockets = (&grpc, &http, console.as_ref());
    announce(&data_dir, &issuer, &database, sockets, tls.is_some())?;

    let parts = ServerParts {
        _database_lock: database_lock,
        config,
        tls,
        store: store.clone(),
        service,
        hub,
        leases,
        verifier,
        revocations_seen,
        jwks_refreshers,
        issuer,
        data_dir,
        grpc,
        http,
        console: console.map(|socket| (socket, console_secret)),
        sign_in: providers,
    };
    Ok((parts, store))
}

/// Writes the files for clients on this machine, and says in the log and on the terminal where the server listens.
fn announce(
    data_dir: &DataDir,
    issuer: &LocalIssuer,
    database: &Database,
    (grpc, http, console): (&TcpListener, &TcpListener, Option<&TcpListener>),
    has_tls: bool,
) -> Result<()> {
    let (grpc_addr, http_addr) = (grpc.local_addr()?, http.local_addr()?);
    let console_addr = console.map(TcpListener::local_addr).transpose()?;
    let scheme = if has_tls { "https" } else { "http" };
    let console_url = console_addr.map(|addr| format!("{scheme}://{addr}"));
    write_files(data_dir, issuer, (grpc_addr, http_addr, console_url))?;
    let console_said = console_addr.map(tracing::field::display);
    tracing::info!(%grpc_addr, %http_addr, console_addr = console_said, version = env!("CARGO_PKG_VERSION"), "serving");
    startup_banner::print_if_terminal(&StartupBanner {
        data_dir,
        database,
        grpc_addr,
        http_addr,
        console_addr,
        has_tls,
    });
    Ok(())
}

/// Builds the verifier of all issuers, and the refreshers of the keys of external ones.
fn trusted_issuers(
    local: &LocalIssuer,
    config: &Config,
    data_dir: &DataDir,
) -> Result<(Arc<Verifier>, Vec<JwksRefresher>)> {
    let mut trusted = vec![local.trusted()?];
    let mut jwks_refreshers = Vec::with_capacity(config.auth.issuers.len());
    for issuer in &config.auth.issuers {
        let (refresher, keys) = JwksRefresher::start(issuer, data_dir.path())?;
        trusted.push((issuer.rules.clone(), keys));
        jwks_refreshers.push(refresher);
    }
    let verifier = Verifier::new(trusted)?.with_leeway(config.auth.clock_leeway);
    Ok((Arc::new(verifier), jwks_refreshers))
}

/// Returns the providers at which people sign in to the console.
fn sign_in_providers(config: &Config) -> Result<Vec<Arc<dyn SignInProvider>>> {
    let mut providers: Vec<Arc<dyn SignInProvider>> = Vec::new();
    for issuer in config.auth.issuers.iter().filter(|_| config.listen.console.is_some()) {
        if let Some(provider) = OidcProvider::start(issuer)? {
            providers.push(Arc::new(provider));
        }
    }
    Ok(providers)
}

/// Compares the database with the recorded high-water marks of its store, of this and the former server, and with the key checkpoint.
async fn remember(store: &Store, data_dir: &DataDir, signer: &Signer, checkpoint: Option<&str>) -> Result<()> {
    let id = signer.store();
    store.remember(data_dir.high_water(), id)?;
    if let Some(head) = checkpoint.and_then(|token| verified_head(token, signer)) {
        store.note_signed(&NamespaceId::system(), head).await?;
    }
    store.remember_frozen(&data_dir.frozen(), id).context("failed to read which namespaces are frozen")?;
    store.check_for_loss().await.context("failed to compare the database with what was seen of it")?;
    Ok(store.warn_of_unverified_restore(&data_dir.unwitnessed(), id).await?)
}

/// Writes the files for clients on this machine. On a full disk a server that ran before still serves: it keeps the token it wrote
/// then, and has no `addr.json` rather than an old one.
fn write_files(
    data_dir: &DataDir,
    issuer: &LocalIssuer,
    (grpc, http, console): (SocketAddr, SocketAddr, Option<String>),
) -> Result<()> {
    if let Err(error) = write_admin_token(issuer, &data_dir.admin_token()) {
        if !data_dir.admin_token().exists() {
            return Err(error).context("failed to write admin.token");
        }
        tracing::warn!(error = format!("{error:#}"), "failed to renew the admin's token; the one from before stays");
    }
    if let Err(error) = data_dir.write_addresses(grpc, http, console) {
        tracing::warn!(%error, "failed to write addr.json; the addresses are in the line that says serving");
        data_dir.remove_addresses().context("failed to remove addr.json, which names other addresses")?;
    }
    Ok(())
}

/// Migrates the database and returns.
///
/// # Errors
/// As `run`.
pub async fn migrate(settings: Settings) -> Result<()> {
    let config = settings.load()?;
    let _telemetry = Telemetry::start(&config.telemetry)?;
    let database = database(&config.storage)?;
    let remembered = RememberedStore::read(&high_water(&config.storage.data_dir))?;
    if let Database::Sqlite { path } = &database
        && let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
    {
        make_private_dir(parent).with_context(|| format!("failed to make {}", parent.display()))?;
    }
    Ok(database.migrate(remembered.as_ref(), clock::CLOCKS).await?)
}

pub(super) fn database(config: &StorageConfig) -> Result<Database> {
    let url = config.database_url.expose();
    match url.strip_prefix("sqlite://") {
        Some(path) => {
            let path = percent_decoded(path.split('?').next().unwrap_or(path))?;
            Ok(Database::Sqlite { path: PathBuf::from(path) })
        }
        None => Ok(Database::Postgres { url: url.to_owned() }),
    }
}

/// Locks a SQLite file for this server alone: its in-memory state reflects only its own writes, so no other server may write. The
/// lock of the data directory is that of the file in it.
pub(super) fn lock_file(database: &Database, data_dir: &DataDir) -> Result<Option<File>> {
    let Database::Sqlite { path } = database else { return Ok(None) };
    let path = path.with_extension("server.lock");
    if data_dir.is_lock(&path) {
        return Ok(None);
    }
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.with_context(|| format!("failed to open {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "the database file is used by a policyhub that is running ({} is locked): stop it, or use PostgreSQL for several",
            path.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("failed to lock {}", path.display())),
    }
}

/// The kind of lock that a maintenance command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Maintenance {
    /// The command reads.
    Reads,
    /// The command changes the schema, the file or every log.
    Changes,
}

/// Excludes migrations, restores and bumps of the epoch of a SQLite file from each other until the lock is dropped. A server may
/// run, and one that starts waits for the end before it migrates. PostgreSQL needs no lock: a migration is one transaction there,
/// and nothing restores it in place.
pub(super) fn lock_maintenance(database: &Database, maintenance: Maintenance) -> Result<Option<File>> {
    let Database::Sqlite { path } = database else { return Ok(None) };
    let path = migration_lock(path);
    let lock = File::options().create(true).truncate(false).write(true).open(&path);
    let lock = lock.with_context(|| format!("failed to open {}", path.display()))?;
    let locked = match maintenance {
        Maintenance::Reads => lock.try_lock_shared(),
        Maintenance::Changes => lock.try_lock(),
    };
    match locked {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "a migration, a restore or `policyhub epoch` is running on the database ({} is locked): wait for its end",
            path.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("failed to lock {}", path.display())),
    }
}

/// Undoes the percent-encoding of a path (RFC 3986 §2.1).
fn percent_decoded(path: &str) -> Result<String> {
    // The library leaves a stray `%` as it is, which would silently name another path.
    ensure!(!has_stray_percent(path), "failed to read database_url: a stray %");
    Ok(percent_decode_str(path).decode_utf8().context("failed to read database_url")?.into_owned())
}

/// Binds the socket of the console. A default that is taken is no reason not to serve: somebody runs two servers on one machine.
fn bind_console(console: &ConsoleConfig) -> Result<Option<TcpListener>> {
    match bind(console.addr, "--console-addr") {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if console.is_named => Err(error),
        Err(error) => {
            tracing::warn!("serving without the console: {error:#}");
            Ok(None)
        }
    }
}

fn bind(addr: std::net::SocketAddr, flag: &str) -> Result<TcpListener> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG_MAX_CONNECTIONS)
    };
    listen().with_context(|| {
        format!("failed to listen on {addr}: stop what uses it, or give another {flag} (port 0 takes any)")
    })
}

/// Reads the identity of the store, and refuses a seal key of another store. The log names the signing keys.
pub(super) async fn identify(store: &Store, keys: ServerKeys, config: &KeysConfig) -> Result<Signer> {
    let id = store.identity(&uuid::Uuid::now_v7().to_string(), clock::now()).await?;
    store.pin_key("seal key", keys.seal.public().key_id()).await?;
    Ok(Signer::new(id, keys.seal, keys.signing, config.publish_before_use))
}

/// Returns a token that the first SIGTERM or SIGINT cancels.
#[expect(clippy::disallowed_methods, reason = "waits for the process's own signals, before there is anything to wire")]
fn stop_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let stopped = CancellationToken::new();
    let told = stopped.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stopped)
}
