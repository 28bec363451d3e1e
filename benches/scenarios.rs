//! The scenarios: each starts new servers, runs a driver against each in turn, and reports.
//!
//! Invariant: within a scenario the targets alternate, round by round, so that disturbances of the machine affect all.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use super::hub::{self, BenchHub, HubDirectory};
use super::plan::{LatencySample, LoadPlan, LoadWork};
use super::postgres::Cluster;
use super::process::{Core, command};
use super::report::{BenchReport, OURS, installed, shape_name, size_name};
use super::target::{BenchPayload, BenchTarget, TargetKind};

pub const KIB: usize = 1024;
/// Number of deliveries that one run of a fan-out aims at, and its smallest and largest number of publications.
const DELIVERIES: usize = 50_000;
const PUBLISHES_MIN: usize = 5;
const PUBLISHES_MAX: usize = 200;
/// Number of connections, and of calls in flight of each, for GetActive and ReportStatus.
pub const CALLERS: (usize, usize) = (8, 16);
/// Number of connections that activate, each with one call at a time.
const ACTIVATORS: usize = 16;
/// How long a load is measured.
pub const LOAD_SECONDS: f64 = 2.0;

/// What is common to all scenarios.
pub struct BenchRun {
    /// Where figures are added.
    pub report: BenchReport,
    /// How often each figure is measured.
    pub rounds: usize,
    /// The small form: fewer subscribers, our own servers only.
    pub quick: bool,
    /// Only these targets; empty means all.
    pub targets: Vec<TargetKind>,
    /// Whether etcd and NATS carry the signed message too.
    pub same_bytes: bool,
    /// 10⁵ versions instead of 10⁴.
    pub full: bool,
    /// Length of the idle scenario.
    pub idle_seconds: f64,
    /// `None` when PostgreSQL is not installed.
    pub postgres: Option<Cluster>,
}

/// Runs a driver and returns its samples.
pub async fn drive(plan: LoadPlan) -> Result<Vec<LatencySample>> {
    let mut driver = command(Core::Driver, std::env::current_exe()?);
    driver.arg("drive");
    said(driver, serde_json::to_vec(&plan)?).await
}

/// Runs one of our programs, which reads `input` and prints samples.
async fn said(mut program: std::process::Command, input: Vec<u8>) -> Result<Vec<LatencySample>> {
    let run = move || {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("no input")?.write_all(&input)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    tokio::task::spawn_blocking(run).await?
}

impl BenchRun {
    /// Returns the targets of `kinds` that were requested and are installed.
    pub(super) fn chosen(&mut self, kinds: &[TargetKind]) -> Vec<TargetKind> {
        let asked = kinds.iter().filter(|kind| self.targets.is_empty() || self.targets.contains(kind));
        let asked: Vec<TargetKind> = asked.copied().collect();
        installed(&mut self.report, &asked)
    }

    /// Returns the payload to deliver, verified.
    pub(super) async fn payload(&mut self, size_bytes: usize) -> Result<BenchPayload> {
        let payload = BenchPayload::take(size_bytes, self.same_bytes).await?;
        let sample = LatencySample::new(
            "message of an activation",
            "bytes",
            std::fs::metadata(payload.delivery())?.len() as f64,
        );
        self.report.add("verified", &size_name(size_bytes), OURS, Ok(vec![sample]));
        Ok(payload)
    }

    /// Measures publications that reach every subscriber.
    pub async fn fan_out(&mut self) -> Result<()> {
        let (kinds, shapes, sizes): (&[TargetKind], &[(usize, usize)], &[usize]) = if self.quick {
            (&[TargetKind::Policyhub, TargetKind::Tonic, TargetKind::H2], &[(100, 1), (1_000, 1), (10, 100)], &[KIB])
        } else {
            (
                &[TargetKind::Policyhub, TargetKind::Tonic, TargetKind::H2, TargetKind::Etcd, TargetKind::Nats],
                &[(100, 1), (1_000, 1), (10_000, 1), (100, 100)],
                &[KIB, 16 * KIB],
            )
        };
        let kinds = self.chosen(kinds);
        for &size_bytes in sizes {
            let payload = self.payload(size_bytes).await?;
            for &(connections, streams) in shapes {
                let case = shape_name(connections, streams, size_bytes);
                for _ in 0..self.rounds {
                    for &kind in &kinds {
                        let samples = fan_out_once(kind, &payload, connections, streams).await;
                        self.report.add("fanout", &case, kind.name(), samples);
                    }
                }
            }
        }
        Ok(())
    }

    /// Measures reads of the active version.
    pub async fn get_active(&mut self) -> Result<()> {
        for size_bytes in [KIB, 16 * KIB] {
            let payload = self.payload(size_bytes).await?;
            for _ in 0..self.rounds {
                for kind in self.chosen(&[TargetKind::Policyhub, TargetKind::Tonic]) {
                    let samples = get_active_once(kind, &payload).await;
                    self.report.add("getactive", &size_name(size_bytes), kind.name(), samples);
                }
            }
        }
        Ok(())
    }

    /// Measures activations, beside transactions that write the same rows.
    pub async fn activate(&mut self) -> Result<()> {
        for (name, is_postgres) in [("SQLite", false), ("PostgreSQL", true)] {
            if is_postgres && self.postgres.is_none() {
                self.report.not_measured("PostgreSQL: not installed (make postgres)".to_owned());
                continue;
            }
            for count in [1, 16] {
                let case = format!("{name}, {count} namespace{}", if count == 1 { "" } else { "s" });
                for _ in 0..self.rounds {
                    let cluster = self.postgres.as_ref().filter(|_| is_postgres);
                    let place = HubDirectory::new(cluster.map(Cluster::create_database))?;
                    let ours = activate_once(&place, count).await;
                    let is_seeded = ours.is_ok();
                    self.report.add("activate", &case, OURS, ours);
                    if is_seeded {
                        let bare = transact_once(&place, count).await;
                        self.report.add("activate", &case, "bare transactions", bare);
                    }
                }
            }
        }
        Ok(())
    }

    /// Measures subscribers that are all disconnected, miss one publication, and reconnect.
    pub async fn resync(&mut self) -> Result<()> {
        let kinds = self.chosen(&[TargetKind::Policyhub, TargetKind::Tonic, TargetKind::Etcd]);
        let payload = self.payload(KIB).await?;
        for (connections, streams) in [(10_000, 1), (100, 100)] {
            let case = shape_name(connections, streams, KIB);
            for _ in 0..self.rounds {
                for &kind in &kinds {
                    let samples = match BenchTarget::start(kind, &payload).await {
                        Ok(target) => resync_once(&target, connections, streams).await,
                        Err(error) => Err(error),
                    };
                    self.report.add("resync", &case, kind.name(), samples);
                }
            }
        }
        self.resync_statements().await
    }

    /// Measures subscriptions without any change.
    pub async fn idle(&mut self) -> Result<()> {
        let payload = self.payload(KIB).await?;
        for (connections, streams) in [(10_000, 1), (100, 100)] {
            let target = BenchTarget::start(TargetKind::Policyhub, &payload).await?;
            let work = LoadWork::Idle { watch: target.watch.clone(), seconds: self.idle_seconds };
            let samples = drive(target.plan(connections, streams, work)).await;
            self.report.add("idle", &shape_name(connections, streams, KIB), OURS, samples);
        }
        let target = BenchTarget::start(TargetKind::Policyhub, &payload).await?;
        let work = LoadWork::Idle { watch: hub::quiet_watch_call(), seconds: self.idle_seconds };
        let samples = drive(target.plan(10_000, 1, work)).await;
        self.report.add("idle", "10,000 × 1, 1 KiB, a heartbeat each 30 s", OURS, samples);
        self.idle_leases().await
    }
}

async fn fan_out_once(
    kind: TargetKind,
    payload: &BenchPayload,
    connections: usize,
    streams: usize,
) -> Result<Vec<LatencySample>> {
    let target = BenchTarget::start(kind, payload).await?;
    drive(target.plan(connections, streams, fan_out_work(&target, connections * streams))).await
}

/// Returns the fan-out of a target to this many subscribers.
pub fn fan_out_work(target: &BenchTarget, subscribers: usize) -> LoadWork {
    let publishes = (DELIVERIES / subscribers).clamp(PUBLISHES_MIN, PUBLISHES_MAX);
    LoadWork::Fanout { watch: target.watch.clone(), publish: target.publish.clone(), publishes }
}

async fn get_active_once(kind: TargetKind, payload: &BenchPayload) -> Result<Vec<LatencySample>> {
    let target = BenchTarget::start(kind, payload).await?;
    let work = LoadWork::Load { calls: vec![vec![target.get.clone()]], seconds: LOAD_SECONDS };
    drive(target.plan(CALLERS.0, CALLERS.1, work)).await
}

/// Runs one resync of a target's subscribers.
pub async fn resync_once(target: &BenchTarget, connections: usize, streams: usize) -> Result<Vec<LatencySample>> {
    let publish = target.publish.first().context("nothing to publish")?.clone();
    let work = LoadWork::Resync { watch: target.watch.clone(), publish, again: target.again.clone() };
    drive(target.plan(connections, streams, work)).await
}

fn namespaces(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("bench-{number}")).collect()
}

async fn activate_once(place: &HubDirectory, count: usize) -> Result<Vec<LatencySample>> {
    let hub = BenchHub::start(place)?;
    let client = hub.client().await?;
    let names = namespaces(count);
    for name in &names {
        hub::create_namespace(&client, name).await?;
        hub::seed(&client, name, KIB).await?;
    }
    let first = names.first().context("no namespace")?;
    let before = hub::head(&client, first).await?.revision;
    let calls = names.iter().map(|name| hub::activate_calls(name)).collect();
    let (grpc, token, process) = (hub.grpc, hub.token.clone(), hub.process.id());
    let plan = LoadPlan {
        server: process,
        address: grpc,
        certificate: None,
        token,
        subscriber_tokens: Vec::new(),
        wire: super::plan::WireFormat::Grpc,
        connections: ACTIVATORS,
        streams: 1,
        least_bytes: 1,
        work: LoadWork::Load { calls, seconds: LOAD_SECONDS },
    };
    let samples = drive(plan).await?;
    // The log must have at least as many events as calls were counted.
    let moved = hub::head(&client, first).await?.revision - before;
    let rate = samples.iter().find(|sample| sample.what == "rate").map_or(0.0, |sample| sample.value);
    let due = rate * LOAD_SECONDS / count as f64 * 0.5;
    ensure!(moved as f64 >= due, "{moved} events after at least {due:.0} answers");
    hub.process.end()?;
    Ok(samples)
}

async fn transact_once(place: &HubDirectory, count: usize) -> Result<Vec<LatencySample>> {
    let mut program = command(Core::Server, std::env::current_exe()?);
    program.args(["transact", "--url", &place.url, "--clients", &ACTIVATORS.to_string()]);
    program.args(["--seconds", &LOAD_SECONDS.to_string()]).args(namespaces(count));
    said(program, Vec::new()).await
}
