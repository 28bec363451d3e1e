//! The servers that are compared: each newly started, with the calls that drive it.
//!
//! Invariant: tonic and h2 send exactly the bytes that the policy hub sends, with signatures; etcd and NATS send the content alone, unless
//! the same bytes are requested. Every subscription begins with a first state, except on NATS.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use policyhub::client::name::NamespaceId;
use policyhub::client::signing::{KeySet, PublicKey};
use policyhub::client::{ActiveSetOptions, Client, SetChange, Watch, WatchOptions, pb, watch};
use prost::Message as _;
use tempfile::TempDir;

use super::certificate::ServerCertificate;
use super::hub::{self, BenchHub, HubDirectory};
use super::load::BenchCaller;
use super::plan::{BenchCall, LoadPlan, LoadWork, WireFormat};
use super::process::{Core, Process, command, free_address};
use super::{etcd, serve_tonic, socket};

/// A version comes with its manifest, of at least so many bytes. So heartbeats, and the last part of an activation of a filtered stream,
/// which may be longer than a content of 1 KiB, are not counted as deliveries.
const MANIFEST_MIN_BYTES: usize = 512;

/// A server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TargetKind {
    Policyhub,
    Tonic,
    H2,
    Etcd,
    Nats,
}

impl TargetKind {
    /// Returns its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policyhub => "policyhub",
            Self::Tonic => "bare tonic",
            Self::H2 => "raw h2",
            Self::Etcd => "etcd",
            Self::Nats => "NATS core",
        }
    }

    /// Returns the program and the package it comes from, when it is not ours.
    pub fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Etcd => Some(("etcd", "etcd-server")),
            Self::Nats => Some(("nats-server", "nats-server")),
            _ => None,
        }
    }

    /// Returns the version that its program prints; `None` when it is not installed.
    pub fn version(self) -> Option<String> {
        let Some((program, _)) = self.program() else { return Some(env!("CARGO_PKG_VERSION").to_owned()) };
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    }
}

/// The bytes that the policy hub sends for content of one size, taken from a verified stream.
#[derive(Debug)]
pub struct BenchPayload {
    /// Size of the content.
    pub size_bytes: usize,
    /// Whether etcd and NATS carry the signed message, and not the content alone.
    same_bytes: bool,
    dir: TempDir,
}

/// Returns the next message with such a change. Others, as that the stream is open, are skipped.
async fn next_that(stream: &mut Watch, is_it: impl Fn(&SetChange) -> bool) -> Result<pb::WatchActiveResponse> {
    loop {
        let (message, change) = stream.next().await?.context("the stream ended")?;
        if is_it(&change) {
            return Ok(message);
        }
    }
}

impl BenchPayload {
    /// Reads the bytes from a real server, and verifies each message as a subscriber does.
    ///
    /// # Errors
    /// When the server's own client refuses what the server sent.
    pub async fn take(size_bytes: usize, same_bytes: bool) -> Result<Self> {
        let place = HubDirectory::new(None)?;
        let hub = BenchHub::start(&place)?;
        let client = hub.client().await?;
        hub::seed(&client, "default", size_bytes).await?;
        let options = WatchOptions {
            namespace: NamespaceId::parse("namespace", "default")?,
            keys: keys(&client).await?,
            learn_keys: true,
            set: ActiveSetOptions::default(),
            resume: None,
            subscriber_id: "bench".to_owned(),
            attributes: Default::default(),
        };
        let mut stream = watch(&client, options).await?;
        let is_snapshot =
            |change: &SetChange| matches!(change, SetChange::Replaced { policies, .. } if policies.len() == 1);
        next_that(&mut stream, is_snapshot).await.context("no snapshot")?;
        let mut caller = BenchCaller::connect(hub.grpc, None, WireFormat::Grpc, &hub.token).await?;
        let activate = hub::activate_calls("default");
        caller.call(activate.first().context("no call")?).await?;
        let is_activation = |change: &SetChange| matches!(change, SetChange::Activated { .. });
        let activation = next_that(&mut stream, is_activation).await.context("no activation")?;
        let answer = client.get_active(hub::get_active_request("default")).await?;
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("delivery"), activation.encode_to_vec())?;
        fs::write(dir.path().join("answer"), answer.encode_to_vec())?;
        Ok(Self { size_bytes, same_bytes, dir })
    }

    /// Returns what etcd and NATS deliver.
    fn load(&self, mark: usize) -> Result<Vec<u8>> {
        if self.same_bytes { Ok(fs::read(self.delivery())?) } else { Ok(hub::content(self.size_bytes, mark)) }
    }

    /// Returns the message of an activation.
    pub fn delivery(&self) -> PathBuf {
        self.dir.path().join("delivery")
    }

    /// Returns the answer of GetActive.
    pub fn answer(&self) -> PathBuf {
        self.dir.path().join("answer")
    }
}

async fn keys(client: &Client) -> Result<KeySet> {
    let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await?;
    let bundles = listed.keys.iter().filter(|key| key.purpose == pb::KeyPurpose::Bundle as i32);
    let keys = bundles.map(|key| Ok(PublicKey::from_jwk(&serde_json::from_str(&key.jwk)?)?));
    Ok(KeySet::from_keys(keys.collect::<Result<Vec<_>>>()?))
}

/// A running server and the calls that drive it.
pub struct BenchTarget {
    process: Process,
    address: SocketAddr,
    /// The certificate to trust, in PEM, when it has TLS.
    certificate: Option<String>,
    token: String,
    /// Tokens of subscriptions, if they have their own.
    pub subscriber_tokens: Vec<String>,
    wire: WireFormat,
    least_bytes: usize,
    /// Opens a subscription, whose first state comes at once.
    pub watch: BenchCall,
    /// Publishes, alternating between these calls.
    pub publish: Vec<BenchCall>,
    /// Opens a subscription that missed exactly one publication.
    pub again: BenchCall,
    /// Reads the state, where there is such a call.
    pub get: BenchCall,
    // Keeps the server's files until it ends.
    _place: Option<HubDirectory>,
    _dir: Option<TempDir>,
}

impl BenchTarget {
    /// Starts a server with initial data.
    pub async fn start(kind: TargetKind, payload: &BenchPayload) -> Result<Self> {
        match kind {
            TargetKind::Policyhub => Self::policyhub(payload, None).await,
            TargetKind::Tonic => {
                let mut command = own(["serve-tonic"]);
                command.arg(payload.delivery()).arg(payload.answer());
                Self::own(command, payload)
            }
            TargetKind::H2 => {
                let mut command = own(["serve-h2"]);
                command.arg(payload.delivery());
                Self::own(command, payload)
            }
            TargetKind::Etcd => Self::etcd(payload, false).await,
            TargetKind::Nats => Self::nats(payload),
        }
    }

    /// Starts a policy hub or etcd that has TLS, with initial data.
    pub async fn start_with_tls(kind: TargetKind, payload: &BenchPayload) -> Result<Self> {
        if kind == TargetKind::Etcd {
            return Self::etcd(payload, true).await;
        }
        let place = HubDirectory::new(None)?.with_tls()?;
        let hub = BenchHub::start(&place)?;
        let held = hub::seed(&hub.client().await?, "default", payload.size_bytes).await?;
        Ok(Self::of_hub(hub, Some(place), held, payload.size_bytes))
    }

    /// Starts the policy hub, on a PostgreSQL database or on SQLite.
    pub async fn policyhub(payload: &BenchPayload, postgres: Option<String>) -> Result<Self> {
        let place = HubDirectory::new(postgres)?;
        let hub = BenchHub::start(&place)?;
        let held = hub::seed(&hub.client().await?, "default", payload.size_bytes).await?;
        Ok(Self::of_hub(hub, Some(place), held, payload.size_bytes))
    }

    /// Returns a policy hub that has its data already; `held` is the revision that subscribers hold.
    pub fn of_hub(hub: BenchHub, place: Option<HubDirectory>, held: i64, size_bytes: usize) -> Self {
        Self {
            process: hub.process,
            address: hub.grpc,
            certificate: hub.certificate,
            token: hub.token,
            subscriber_tokens: Vec::new(),
            wire: WireFormat::Grpc,
            least_bytes: size_bytes + MANIFEST_MIN_BYTES,
            watch: hub::watch_call(None, None),
            publish: hub::activate_calls("default"),
            again: hub::watch_call(None, Some(held)),
            get: hub::get_active_call("default"),
            _place: place,
            _dir: None,
        }
    }

    fn own(command: Command, payload: &BenchPayload) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let mut process = Process::start(command, &log)?;
        let address = process.wait_for(&log, || fs::read_to_string(&log).ok()?.lines().next()?.parse().ok())?;
        let call = |path: &str| BenchCall { path: path.to_owned(), ..BenchCall::default() };
        Ok(Self {
            process,
            address,
            certificate: None,
            // As long as a real one: the same headers for all.
            token: "t".repeat(400),
            subscriber_tokens: Vec::new(),
            wire: WireFormat::Grpc,
            least_bytes: payload.size_bytes,
            watch: call(serve_tonic::WATCH),
            publish: vec![call(serve_tonic::PUBLISH)],
            again: call(serve_tonic::WATCH),
            get: call(serve_tonic::GET),
            _place: None,
            _dir: Some(dir),
        })
    }

    async fn etcd(payload: &BenchPayload, has_tls: bool) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let certificate = has_tls.then(|| ServerCertificate::make(dir.path())).transpose()?;
        let (process, address) = etcd::start(dir.path(), certificate.as_ref())?;
        let certificate = certificate.map(|certificate| certificate.pem);
        let tls = certificate.as_deref().map(socket::trust).transpose()?;
        let put = |mark| anyhow::Ok(etcd::put_call(payload.load(mark)?));
        BenchCaller::connect(address, tls.as_ref(), WireFormat::Grpc, "").await?.call(&put(0)?).await?;
        Ok(Self {
            process,
            address,
            certificate,
            token: String::new(),
            subscriber_tokens: Vec::new(),
            wire: WireFormat::Grpc,
            least_bytes: payload.size_bytes,
            watch: etcd::watch_call(etcd::FIRST_REVISION),
            publish: vec![put(1)?, put(2)?],
            again: etcd::watch_call(etcd::FIRST_REVISION + 1),
            get: BenchCall::default(),
            _place: None,
            _dir: Some(dir),
        })
    }

    fn nats(payload: &BenchPayload) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (address, log) = (free_address()?, dir.path().join("log"));
        let mut command = command(Core::Server, "nats-server");
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        let mut process = Process::start(command, &log)?;
        process.wait_for(&log, || std::net::TcpStream::connect(address).ok())?;
        let call = |body| BenchCall { path: "bench".to_owned(), body, ..BenchCall::default() };
        Ok(Self {
            process,
            address,
            certificate: None,
            token: String::new(),
            subscriber_tokens: Vec::new(),
            wire: WireFormat::Nats,
            least_bytes: payload.size_bytes,
            watch: call(Vec::new()),
            publish: vec![call(payload.load(1)?)],
            again: call(Vec::new()),
            get: BenchCall::default(),
            _place: None,
            _dir: Some(dir),
        })
    }

    /// Ends the server in order.
    pub fn end(self) -> Result<()> {
        self.process.end()
    }

    /// Returns the plan for a driver.
    pub fn plan(&self, connections: usize, streams: usize, work: LoadWork) -> LoadPlan {
        LoadPlan {
            server: self.process.id(),
            address: self.address,
            certificate: self.certificate.clone(),
            token: self.token.clone(),
            subscriber_tokens: self.subscriber_tokens.clone(),
            wire: self.wire,
            connections,
            streams,
            least_bytes: self.least_bytes,
            work,
        }
    }
}

/// Returns a command that runs this program as one of its comparison servers.
fn own<const N: usize>(arguments: [&str; N]) -> Command {
    // The path of a running program is known on every supported system.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"));
    let mut command = command(Core::Server, program);
    command.args(arguments);
    command
}
