//! The deployment of one schedule: servers, their database, and the links between them and their clients.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::clock::WallClock;
use super::database::Postgres;
use super::disk_error::FailingDisk;
use super::fault::{FaultDatabase, InjectedFault, Link};
use super::plan::FaultPlan;
use super::power_cut::Disk;
use super::proxy::{FaultProxy, Mode};
use super::server::ServerProcess;

/// How long a server may drain, as configured; and how long its shutdown may take in total: the database is closed after it.
pub const DRAIN_MAX_MS: u64 = 3_000;
pub const END_MAX_MS: u64 = DRAIN_MAX_MS + 7_000;

/// Timers for seeds whose faults must last longer than those of the server: an interval and its answer, and a reader.
const KEEPALIVE_MS: u64 = 500;
const STUCK_READER_MS: u64 = 1_200;

/// How often an open watch is authorized again, when roles are tested.
pub const RECHECK_MS: u64 = 500;

/// How a defect is planted: an environment variable that only a binary with the feature `planted-defects` reads.
pub const DEFECT_VARIABLE: &str = "POLICYHUB_PLANTED_DEFECT";

/// Everything that runs.
pub struct Deployment {
    pub servers: Vec<ServerProcess>,
    /// The links between all clients and each server.
    clients: Vec<FaultProxy>,
    /// The links between each server and PostgreSQL.
    databases: Vec<FaultProxy>,
    pub postgres: Option<Arc<Postgres>>,
    pub database_name: String,
    /// The disk under SQLite: what is durable, and which calls fail.
    pub disk: Option<(Disk, FailingDisk)>,
    /// The clocks of the servers, when any of them jumps.
    pub clocks: Vec<WallClock>,
    pub postgres_is_down: bool,
}

/// Returns whether the binary can run without NOTIFY.
fn knows_listen_notify() -> bool {
    static KNOWS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *KNOWS.get_or_init(|| {
        let help = Command::new(super::server::binary()).args(["serve", "--help"]).output().expect("it runs");
        String::from_utf8_lossy(&help.stdout).contains("--listen-notify")
    })
}

/// Returns whether a plan asks to run without NOTIFY, and this binary can.
pub fn runs_without_notify(plan: &FaultPlan) -> bool {
    plan.database == FaultDatabase::Postgres && !plan.notify && knows_listen_notify()
}

impl Deployment {
    /// Starts everything that a plan asks for, in `directory`.
    ///
    /// # Errors
    /// What did not start, and why.
    pub async fn start(
        plan: &FaultPlan,
        directory: &Path,
        postgres: Option<Arc<Postgres>>,
        defect: Option<&str>,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| error.to_string();
        let (mut databases, mut servers, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        let (database_name, port) = postgres.as_ref().map(|postgres| postgres.create_database()).unwrap_or_default();
        if let Some(postgres) = postgres.clone().filter(|_| plan.brings(InjectedFault::PowerCutPostgres)) {
            let mounted = tokio::task::spawn_blocking(move || postgres.mount_power_cut()).await;
            mounted.map_err(|error| error.to_string())??;
        }
        let (mut disk, mut clocks) = (None, Vec::new());
        let jumps = plan.steps.iter().any(|step| matches!(step.fault, InjectedFault::ClockJump(..)));
        for number in 0..plan.replicas {
            let home = directory.join(format!("replica-{number}"));
            if jumps {
                clocks.push(WallClock::new(&home).map_err(failed)?);
            }
            let mut arguments = arguments(plan);
            if postgres.is_some() {
                let proxy = FaultProxy::to(SocketAddr::from(([127, 0, 0, 1], port))).await.map_err(failed)?;
                let address = proxy.address;
                arguments.push(format!("--database-url=postgres://postgres@{address}/{database_name}"));
                arguments.push(format!("--keys-dir={}", directory.join("keys").display()));
                databases.push(proxy);
            } else {
                let database = home.join("data/policyhub.db");
                let durable = Disk::new(database, directory.join("disk")).map_err(failed)?;
                disk = Some((durable, FailingDisk::new(directory)));
            }
            let defect = defect.map(|defect| (DEFECT_VARIABLE.to_owned(), defect.to_owned()));
            let mut server = ServerProcess::new(&home, arguments, defect.into_iter().collect());
            if plan.mixed {
                server.runs_from_now_on(std::env::var_os("OLD_BINARY").ok_or("OLD_BINARY names no binary")?);
            }
            clients.push(FaultProxy::to(server.grpc).await.map_err(failed)?);
            servers.push(server);
        }
        let mut world =
            Self { servers, clients, databases, postgres, database_name, disk, clocks, postgres_is_down: false };
        // One after the other, because the first one creates the keys.
        for number in 0..plan.replicas {
            world.start_server(number).await?;
        }
        Ok(world)
    }

    /// Starts a server that does not run.
    ///
    /// # Errors
    /// What it said instead of serving.
    pub async fn start_server(&mut self, number: usize) -> Result<(), String> {
        let mut with = Command::new("env");
        self.mount(number, &mut with);
        let environment: Vec<_> =
            with.get_envs().filter_map(|(name, value)| Some((name.into(), value?.into()))).collect();
        self.servers[number].start(environment).await
    }

    /// Makes a process use the disk and the clock of a server.
    pub fn mount(&self, number: usize, command: &mut Command) {
        let mut preload: Vec<String> = self.clocks.get(number).map(|clock| clock.mount(command)).into_iter().collect();
        if let Some((durable, failing)) = &self.disk {
            preload.push(durable.mount(command));
            for (name, value) in failing.environment() {
                if name == "LD_PRELOAD" {
                    preload.push(value);
                } else {
                    command.env(name, value);
                }
            }
        }
        if !preload.is_empty() {
            command.env("LD_PRELOAD", preload.join(":"));
        }
    }

    /// Returns the address at which clients reach a server.
    pub fn address(&self, replica: usize) -> SocketAddr {
        self.clients[replica].address
    }

    /// Ends the fault of the link between a server and its database.
    pub fn open_database_link(&self, replica: usize) {
        self.databases.get(replica).into_iter().for_each(|link| link.set(Mode::Open));
    }

    /// Returns a link.
    pub fn link(&self, link: Link) -> &FaultProxy {
        match link {
            Link::Clients(replica) => &self.clients[replica],
            Link::Database(replica) => &self.databases[replica],
        }
    }

    /// Ends every fault: links carry, processes continue, and killed processes run again. Returns the errors.
    pub async fn heal(&mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        for link in self.clients.iter().chain(&self.databases) {
            link.set(Mode::Open);
        }
        if let Some((_, failing)) = &self.disk {
            failing.heal();
        }
        wrong.extend(self.clocks.iter().filter_map(|clock| clock.set(0).err()).map(|error| error.to_string()));
        if let Some(postgres) = self.postgres.clone() {
            postgres.signal("CONT");
            if std::mem::take(&mut self.postgres_is_down) {
                postgres.start_again();
            }
        }
        for number in 0..self.servers.len() {
            self.servers[number].signal("CONT");
            if !self.servers[number].runs() {
                wrong.push(format!("replica {number} ended by itself"));
                wrong.extend(self.start_server(number).await.err());
            }
        }
        wrong
    }

    /// Ends all processes; the files stay.
    pub fn end(mut self) {
        for server in &mut self.servers {
            server.kill();
        }
        if let Some(postgres) = &self.postgres {
            postgres.signal("CONT");
            if self.postgres_is_down {
                postgres.start_again();
            }
            postgres.unmount_power_cut();
            postgres.drop_database(&self.database_name);
        }
    }
}

fn arguments(plan: &FaultPlan) -> Vec<String> {
    let mut arguments = vec![
        format!("--heartbeat-interval-ms={}", plan.heartbeat_ms),
        format!("--poll-interval-ms={}", plan.poll_ms),
        format!("--watch-ring-events={}", plan.ring_events),
        format!("--drain-timeout-ms={DRAIN_MAX_MS}"),
    ];
    if plan.short_timers {
        arguments.push(format!("--keepalive-interval-ms={KEEPALIVE_MS}"));
        arguments.push(format!("--keepalive-timeout-ms={KEEPALIVE_MS}"));
        arguments.push(format!("--stuck-reader-timeout-ms={STUCK_READER_MS}"));
    }
    if plan.workloads {
        // Keys may sign as soon as they are prepared.
        arguments.push("--key-publish-before-use-ms=0".to_owned());
    }
    if plan.background {
        arguments.push(format!("--recheck-interval-ms={RECHECK_MS}"));
    }
    if let Some(age_ms) = plan.connection_age_ms {
        arguments.push(format!("--max-connection-age-ms={age_ms}"));
    }
    if runs_without_notify(plan) {
        arguments.push("--listen-notify=false".to_owned());
    }
    arguments
}

/// Returns whether the log of any server contains this text.
pub fn logs_say(directory: &Path, text: &str) -> bool {
    let homes = fs::read_dir(directory).into_iter().flatten().flatten();
    let logs = homes.filter_map(|home| fs::read(home.path().join("server.log")).ok());
    logs.into_iter().any(|log| String::from_utf8_lossy(&log).contains(text))
}

/// Creates a directory for a schedule, which is removed unless it is kept.
pub fn directory(seed: u64) -> PathBuf {
    let parent = if Path::new("/dev/shm").is_dir() { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
    let made = tempfile::Builder::new().prefix(&format!("policyhub-faults-{seed}-")).tempdir_in(parent);
    made.expect("a temporary directory").keep()
}

/// Removes a schedule's directory.
pub fn remove(directory: &Path) {
    let _ = fs::remove_dir_all(directory);
}
