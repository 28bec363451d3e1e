//! The real server: the built binary on a separate database, filled through its own API.
//!
//! Boundary: only what a user can do. Content has exactly the requested size.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use policyhub::client::{Client, HEARTBEAT_INTERVAL_MAX, pb};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::certificate::ServerCertificate;
use super::plan::BenchCall;
use super::process::{Core, Process, command, get};

/// Concurrent calls that fill a store. More would only wait for each other's lock.
pub const FILLERS: usize = 4;
/// Largest number of targets of one activation: the server's limit.
const TARGETS_MAX: usize = 100;
/// The field `subscriber_id` of `WatchActiveRequest`.
const SUBSCRIBER_ID: u8 = 2;

/// A store that outlives its server.
#[derive(Debug)]
pub struct HubDirectory {
    dir: TempDir,
    /// `sqlite://…` or `postgres://…`.
    pub url: String,
    /// With it the server has TLS.
    certificate: Option<ServerCertificate>,
    /// Whether the server has its console.
    has_console: bool,
}

/// A running server.
#[derive(Debug)]
pub struct BenchHub {
    /// The process.
    pub process: Process,
    /// Address of gRPC.
    pub grpc: SocketAddr,
    /// Address of the console, when it has one.
    pub console: Option<SocketAddr>,
    /// The admin's token.
    pub token: String,
    /// The certificate to trust, in PEM, when it has TLS.
    pub certificate: Option<String>,
}

impl HubDirectory {
    /// Returns an empty store, on SQLite or on a PostgreSQL database.
    pub fn new(postgres: Option<String>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let url = postgres.unwrap_or_else(|| format!("sqlite://{}", dir.path().join("bench.db").display()));
        Ok(Self { dir, url, certificate: None, has_console: false })
    }

    /// Returns it with TLS.
    pub fn with_tls(mut self) -> Result<Self> {
        self.certificate = Some(ServerCertificate::make(self.dir.path())?);
        Ok(self)
    }

    /// Returns it with the console.
    pub fn with_console(self) -> Self {
        Self { has_console: true, ..self }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the directory of the server's keys.
    pub fn keys(&self) -> PathBuf {
        self.data().join("keys")
    }
}

impl BenchHub {
    /// Starts a server and waits until it is ready.
    pub fn start(place: &HubDirectory) -> Result<Self> {
        Self::start_on(Core::Server, place)
    }

    /// Starts a server that does not check its logs by itself: else the check that follows a start, of a longer log in a larger store, is
    /// measured too.
    pub fn start_unchecked(place: &HubDirectory) -> Result<Self> {
        Self::start_with(Core::Server, place, &["--audit-interval-ms", "0"])
    }

    /// Starts a server on these cores and waits until it is ready.
    pub fn start_on(core: Core, place: &HubDirectory) -> Result<Self> {
        Self::start_with(core, place, &[])
    }

    fn start_with(core: Core, place: &HubDirectory, arguments: &[&str]) -> Result<Self> {
        let (data, log) = (place.data(), place.dir.path().join("log"));
        let addresses = data.join("addr.json");
        if addresses.exists() {
            std::fs::remove_file(&addresses)?;
        }
        let mut command = command(core, env!("CARGO_BIN_EXE_policyhub"));
        command.args([
            "serve",
            "--grpc-addr",
            "127.0.0.1:0",
            "--http-addr",
            "127.0.0.1:0",
            "--console-addr",
            if place.has_console { "127.0.0.1:0" } else { "off" },
            "--database-url",
        ]);
        command.arg(&place.url).arg("--data-dir").arg(&data);
        // All subscribers are one principal.
        command.args(["--principal-max-subscribers", "0"]).args(arguments);
        if let Some(certificate) = &place.certificate {
            command.arg("--tls-cert").arg(&certificate.file).arg("--tls-key").arg(&certificate.key_file);
        }
        let mut process = Process::start(command, &log)?;
        let (grpc, http, console) = process.wait_for(&log, || bound(&addresses))?;
        process.wait_for(&log, || get(http, "/readyz"))?;
        let token = std::fs::read_to_string(data.join("admin.token")).context("no admin token")?.trim().to_owned();
        let certificate = place.certificate.as_ref().map(|certificate| certificate.pem.clone());
        Ok(Self { process, grpc, console, token, certificate })
    }

    /// Returns a client as the admin.
    pub async fn client(&self) -> Result<Client> {
        let ca = self.certificate.clone().map(String::into_bytes);
        let scheme = if ca.is_some() { "https" } else { "http" };
        Ok(Client::connect(&format!("{scheme}://{}", self.grpc), Some(self.token.clone()), ca).await?)
    }
}

/// Returns the addresses of gRPC, HTTP and the console, once the server has written them.
fn bound(addresses: &Path) -> Option<(SocketAddr, SocketAddr, Option<SocketAddr>)> {
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(addresses).ok()?).ok()?;
    let address = |name: &str| value.get(name)?.as_str()?.trim_start_matches("http://").parse().ok();
    Some((address("grpc")?, address("http")?, address("console")))
}

/// Returns JSON of exactly this size, different for each `mark`.
pub fn content(size_bytes: usize, mark: usize) -> Vec<u8> {
    let start = format!("{{\"mark\":{mark},\"text\":\"");
    let filler = size_bytes.saturating_sub(start.len() + 2);
    // Vary the letters: nothing here may benefit from compressible content.
    let letters = (0..filler).map(|at| b'a' + (at * 7 + at / 26 * 11 + mark) as u8 % 26);
    start.into_bytes().into_iter().chain(letters).chain(*b"\"}").collect()
}

/// Drafts and publishes one version and returns its number.
pub async fn publish(client: &Client, namespace: &str, policy: &str, content: Vec<u8>) -> Result<i64> {
    let request = pb::DraftRequest {
        parent: format!("namespaces/{namespace}/policies/{policy}"),
        content: content.into(),
        content_type: "application/json".to_owned(),
        allow_missing: true,
        ..Default::default()
    };
    let drafted = client.draft(request).await?.version.context("no draft")?;
    let request = pb::PublishRequest { name: drafted.name, etag: drafted.etag, ..Default::default() };
    Ok(client.publish(request).await?.version.context("no version")?.version)
}

/// Returns a request to activate these versions.
pub fn activate_request(namespace: &str, targets: &[(String, i64)]) -> pb::ActivateRequest {
    let targets = targets.iter().map(|(policy, version)| pb::ActivateTarget {
        policy: format!("namespaces/{namespace}/policies/{policy}"),
        to: Some(pb::activate_target::To::Version(*version)),
        expected_active: None,
    });
    pb::ActivateRequest {
        parent: format!("namespaces/{namespace}"),
        targets: targets.collect(),
        reason: "a benchmark".to_owned(),
        ..Default::default()
    }
}

/// Publishes two versions of this size of a policy `p0`, activates the first one and returns the revision of the activation.
pub async fn seed(client: &Client, namespace: &str, size_bytes: usize) -> Result<i64> {
    for mark in 0..2 {
        publish(client, namespace, "p0", content(size_bytes, mark)).await?;
    }
    Ok(client
        .activate(activate_request(namespace, &[("p0".to_owned(), 1)]))
        .await?
        .cursor
        .map_or(0, |cursor| cursor.revision))
}

/// Fills the namespace `default` with policies and versions, with all policies active at their first version.
pub async fn fill(hub: &BenchHub, policies: usize, versions: usize, size_bytes: usize) -> Result<()> {
    let each = versions.div_ceil(policies);
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let client = hub.client().await?;
        fillers.spawn(async move {
            for policy in (filler..policies).step_by(FILLERS) {
                for mark in 0..each {
                    publish(&client, "default", &format!("p{policy}"), content(size_bytes, policy * each + mark))
                        .await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled??;
    }
    let client = hub.client().await?;
    let all: Vec<(String, i64)> = (0..policies).map(|policy| (format!("p{policy}"), 1)).collect();
    // The policy that is activated repeatedly gets two versions.
    if each == 1 {
        publish(&client, "default", "p0", content(size_bytes, policies)).await?;
    }
    for targets in all.chunks(TARGETS_MAX) {
        client.activate(activate_request("default", targets)).await?;
    }
    Ok(())
}

/// Returns a call that opens a subscription with its own id, with a snapshot or after a revision.
pub fn watch_call(policy: Option<&str>, resume: Option<i64>) -> BenchCall {
    let target = pb::WatchTarget {
        parent: "namespaces/default".to_owned(),
        policies: policy.map(str::to_owned).into_iter().collect(),
        resume: resume.map(|revision| pb::Cursor { epoch: 1, revision, ..Default::default() }),
    };
    let request = pb::WatchActiveRequest { targets: vec![target], ..Default::default() };
    call("SyncService/WatchActive", &request, Some(SUBSCRIBER_ID))
}

/// Returns the same for all policies, with a snapshot, and a heartbeat as seldom as a subscriber can ask for.
pub fn quiet_watch_call() -> BenchCall {
    let target = pb::WatchTarget { parent: "namespaces/default".to_owned(), ..Default::default() };
    let heartbeat_interval = HEARTBEAT_INTERVAL_MAX.try_into().ok();
    let request = pb::WatchActiveRequest { targets: vec![target], heartbeat_interval, ..Default::default() };
    call("SyncService/WatchActive", &request, Some(SUBSCRIBER_ID))
}

/// Returns calls that activate the two versions of `p0` alternately, beginning with the second.
pub fn activate_calls(namespace: &str) -> Vec<BenchCall> {
    let calls = [2, 1].map(|version| activate_request(namespace, &[("p0".to_owned(), version)]));
    calls.iter().map(|request| call("PolicyService/Activate", request, None)).collect()
}

/// Returns a call that reads the active version of `p0`.
pub fn get_active_call(namespace: &str) -> BenchCall {
    call("SyncService/GetActive", &get_active_request(namespace), None)
}

/// Returns a call that reports what a subscriber runs with.
pub fn report_call(report: &pb::ReportStatusRequest) -> BenchCall {
    call("SyncService/ReportStatus", report, None)
}

/// Returns a call that drafts another version of `p0`.
pub fn draft_call(namespace: &str, size_bytes: usize) -> BenchCall {
    let request = pb::DraftRequest {
        parent: format!("namespaces/{namespace}/policies/p0"),
        content: content(size_bytes, 2).into(),
        content_type: "application/json".to_owned(),
        ..Default::default()
    };
    call("PolicyService/Draft", &request, None)
}

/// Returns that request for a client.
pub fn get_active_request(namespace: &str) -> pb::GetActiveRequest {
    pb::GetActiveRequest { name: format!("namespaces/{namespace}/policies/p0"), ..Default::default() }
}

fn call(method: &str, request: &impl prost::Message, numbered: Option<u8>) -> BenchCall {
    BenchCall { path: format!("/policyhub.v1.{method}"), body: request.encode_to_vec(), numbered, open: false }
}

/// Creates a namespace.
pub async fn create_namespace(client: &Client, name: &str) -> Result<()> {
    let request = pb::CreateNamespaceRequest { namespace_id: name.to_owned(), ..Default::default() };
    client.create_namespace(request).await?;
    Ok(())
}

/// Reads the active set of a namespace, so that the server follows it.
pub async fn read_active(client: &Client, namespace: &str) -> Result<()> {
    let parent = format!("namespaces/{namespace}");
    client.list_active(pb::ListActiveRequest { parent, ..Default::default() }).await?;
    Ok(())
}

/// Returns the cursor at the head of a namespace.
pub async fn head(client: &Client, namespace: &str) -> Result<pb::Cursor> {
    let request = pb::GetNamespaceRequest { name: format!("namespaces/{namespace}") };
    let Some(found) = client.get_namespace(request).await?.namespace else { bail!("no namespace") };
    found.head.context("no head")
}
