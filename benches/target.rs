//! The servers that are measured side by side: each started afresh, with the calls that drive it.
//!
//! Invariant: tonic and h2 send the very bytes that the policy hub sends, signatures and all; etcd and NATS send the
//! content alone, unless they are asked for the same bytes. Every subscription begins with a first state, but on NATS.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use policyhub::client::name::NamespaceId;
use policyhub::client::signing::{KeySet, PublicKey};
use policyhub::client::{ActiveSetOptions, Client, SetChange, WatchOptions, pb, watch};
use prost::Message as _;
use tempfile::TempDir;

use super::hub::{self, Hub, Place};
use super::load::Caller;
use super::plan::{Call, Plan, Wire, Work};
use super::process::{Core, Process, command, free_address};
use super::{etcd, serve_tonic};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Policyhub,
    Tonic,
    H2,
    Etcd,
    Nats,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policyhub => "policyhub",
            Self::Tonic => "bare tonic",
            Self::H2 => "raw h2",
            Self::Etcd => "etcd",
            Self::Nats => "NATS core",
        }
    }

    /// The program and the package it comes from, when it is not ours.
    pub fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Etcd => Some(("etcd", "etcd-server")),
            Self::Nats => Some(("nats-server", "nats-server")),
            _ => None,
        }
    }

    /// What its program says of its version; none when it is not installed.
    pub fn version(self) -> Option<String> {
        let Some((program, _)) = self.program() else { return Some(env!("CARGO_PKG_VERSION").to_owned()) };
        let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
        String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
    }
}

/// The bytes that the policy hub sends for content of one size, taken from a verified stream.
#[derive(Debug)]
pub struct Wares {
    /// Size of the content.
    pub size_bytes: usize,
    /// Whether etcd and NATS carry the signed message too, and not the content alone.
    same_bytes: bool,
    dir: TempDir,
}

impl Wares {
    /// Asks a real server, and checks each message the way a subscriber does.
    ///
    /// # Errors
    /// When the server's own client refuses what the server sent.
    pub async fn take(size_bytes: usize, same_bytes: bool) -> Result<Self> {
        let place = Place::new(None)?;
        let hub = Hub::start(&place)?;
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
        let (_, first) = stream.next().await?.context("no snapshot")?;
        anyhow::ensure!(matches!(&first, SetChange::Replaced { policies, .. } if policies.len() == 1), "no snapshot");
        let mut caller = Caller::connect(hub.grpc, Wire::Grpc, &hub.token).await?;
        let activate = hub::activate_calls("default");
        caller.call(activate.first().context("no call")?).await?;
        let activation = loop {
            let (message, change) = stream.next().await?.context("no activation")?;
            if matches!(change, SetChange::Activated { .. }) {
                break message;
            }
        };
        let answer = client.get_active(hub::get_active_request("default")).await?;
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("delivery"), activation.encode_to_vec())?;
        fs::write(dir.path().join("answer"), answer.encode_to_vec())?;
        Ok(Self { size_bytes, same_bytes, dir })
    }

    /// What etcd and NATS deliver.
    fn load(&self, mark: usize) -> Result<Vec<u8>> {
        if self.same_bytes { Ok(fs::read(self.delivery())?) } else { Ok(hub::content(self.size_bytes, mark)) }
    }

    /// The message of an activation.
    pub fn delivery(&self) -> PathBuf {
        self.dir.path().join("delivery")
    }

    /// The answer of GetActive.
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
pub struct Target {
    process: Process,
    address: SocketAddr,
    token: String,
    wire: Wire,
    least_bytes: usize,
    /// Opens a subscription; its first state comes at once.
    pub watch: Call,
    /// Publishes, in turns.
    pub publish: Vec<Call>,
    /// Opens a subscription that missed exactly one publication.
    pub again: Call,
    /// Asks for the state, where there is such a call.
    pub get: Call,
    /// Where a policy hub shows its counters.
    pub http: Option<SocketAddr>,
    // The server's files go with it.
    _place: Option<Place>,
    _dir: Option<TempDir>,
}

impl Target {
    /// Starts one, seeded.
    pub async fn start(kind: Kind, wares: &Wares) -> Result<Self> {
        match kind {
            Kind::Policyhub => Self::policyhub(wares, None).await,
            Kind::Tonic => {
                let mut command = own(["serve-tonic"]);
                command.arg(wares.delivery()).arg(wares.answer());
                Self::own(command, wares)
            }
            Kind::H2 => {
                let mut command = own(["serve-h2"]);
                command.arg(wares.delivery());
                Self::own(command, wares)
            }
            Kind::Etcd => Self::etcd(wares).await,
            Kind::Nats => Self::nats(wares),
        }
    }

    /// The policy hub, on a PostgreSQL database or on SQLite.
    pub async fn policyhub(wares: &Wares, postgres: Option<String>) -> Result<Self> {
        let place = Place::new(postgres)?;
        let hub = Hub::start(&place)?;
        let held = hub::seed(&hub.client().await?, "default", wares.size_bytes).await?;
        Ok(Self::of_hub(hub, Some(place), held, wares.size_bytes))
    }

    /// A policy hub that is seeded already; `held` is the revision that subscribers hold.
    pub fn of_hub(hub: Hub, place: Option<Place>, held: i64, size_bytes: usize) -> Self {
        Self {
            process: hub.process,
            address: hub.grpc,
            token: hub.token,
            wire: Wire::Grpc,
            least_bytes: size_bytes,
            watch: hub::watch_call(Some("p0"), None),
            publish: hub::activate_calls("default"),
            again: hub::watch_call(Some("p0"), Some(held)),
            get: hub::get_active_call("default"),
            http: Some(hub.http),
            _place: place,
            _dir: None,
        }
    }

    fn own(command: Command, wares: &Wares) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("log");
        let mut process = Process::start(command, &log)?;
        let address = process.wait_for(&log, || fs::read_to_string(&log).ok()?.lines().next()?.parse().ok())?;
        let call = |path: &str| Call { path: path.to_owned(), ..Call::default() };
        Ok(Self {
            process,
            address,
            // As long as a real one: the same headers for all.
            token: "t".repeat(400),
            wire: Wire::Grpc,
            least_bytes: wares.size_bytes,
            watch: call(serve_tonic::WATCH),
            publish: vec![call(serve_tonic::PUBLISH)],
            again: call(serve_tonic::WATCH),
            get: call(serve_tonic::GET),
            http: None,
            _place: None,
            _dir: Some(dir),
        })
    }

    async fn etcd(wares: &Wares) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (process, address) = etcd::start(dir.path())?;
        let put = |mark| anyhow::Ok(etcd::put_call(wares.load(mark)?));
        Caller::connect(address, Wire::Grpc, "").await?.call(&put(0)?).await?;
        Ok(Self {
            process,
            address,
            token: String::new(),
            wire: Wire::Grpc,
            least_bytes: wares.size_bytes,
            watch: etcd::watch_call(etcd::FIRST_REVISION),
            publish: vec![put(1)?, put(2)?],
            again: etcd::watch_call(etcd::FIRST_REVISION + 1),
            get: Call::default(),
            http: None,
            _place: None,
            _dir: Some(dir),
        })
    }

    fn nats(wares: &Wares) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (address, log) = (free_address()?, dir.path().join("log"));
        let mut command = command(Core::Server, "nats-server");
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        let mut process = Process::start(command, &log)?;
        process.wait_for(&log, || std::net::TcpStream::connect(address).ok())?;
        let call = |body| Call { path: "bench".to_owned(), body, ..Call::default() };
        Ok(Self {
            process,
            address,
            token: String::new(),
            wire: Wire::Nats,
            least_bytes: wares.size_bytes,
            watch: call(Vec::new()),
            publish: vec![call(wares.load(1)?)],
            again: call(Vec::new()),
            get: Call::default(),
            http: None,
            _place: None,
            _dir: Some(dir),
        })
    }

    /// Ends it in order.
    pub fn end(self) -> Result<()> {
        self.process.end()
    }

    /// What a driver is told.
    pub fn plan(&self, connections: usize, streams: usize, work: Work) -> Plan {
        Plan {
            server: self.process.id(),
            address: self.address,
            token: self.token.clone(),
            wire: self.wire,
            connections,
            streams,
            least_bytes: self.least_bytes,
            work,
        }
    }
}

/// This program again, as one of its comparison servers.
fn own<const N: usize>(arguments: [&str; N]) -> Command {
    // The path of a running program is known on every system that this runs on.
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("bench"));
    let mut command = command(Core::Server, program);
    command.args(arguments);
    command
}
