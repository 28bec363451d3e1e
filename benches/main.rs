//! Benchmarks: any target over loopback, driven by the same client, printed as a table and written as JSON.
//!
//! `make bench` runs it; `docs/performance.md` explains what is measured and why. The program starts itself again as driver and as
//! comparison server, so that a server's CPU is that of a process that only serves.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

mod certificate;
mod checks;
#[path = "../tests/it/harness/faults.rs"]
#[allow(
    dead_code,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "it is the tests', which use all of it and stop with a message"
)]
mod cluster_faults;
mod console;
mod drive;
mod etcd;
mod goals;
mod growth;
mod http2;
mod hub;
mod leases;
mod load;
mod machine;
mod namespaces;
mod nats;
mod noisy;
mod plan;
#[path = "../tests/it/harness/postgres.rs"]
#[allow(
    dead_code,
    unused_imports,
    clippy::panic,
    reason = "it is the tests', which use all of it and stop with a message"
)]
mod postgres;
mod process;
mod report;
mod scenarios;
mod serve_h2;
mod serve_tonic;
mod show;
mod socket;
mod status_reports;
mod subscriber_tokens;
mod subscriptions;
mod target;
mod tls;
mod transact;

/// Measure the server
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<ProcessRole>,
    /// Only these scenarios
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Only these servers
    #[arg(long, value_enum, value_delimiter = ',')]
    targets: Vec<target::TargetKind>,
    /// etcd and NATS carry the signed message too, instead of the content alone
    #[arg(long)]
    same_bytes: bool,
    /// 100 and 1,000 subscribers, 1 KiB, our own servers: to see that it works
    #[arg(long)]
    quick: bool,
    /// 10⁵ versions instead of 10⁴, and 50,000 namespaces too
    #[arg(long)]
    full: bool,
    /// How often each figure is taken
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Length of the idle scenario
    #[arg(long, default_value_t = 30.0)]
    idle_seconds: f64,
    /// Where the figures are written
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.json"))]
    json: PathBuf,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum ProcessRole {
    /// Do the plan on standard input
    Drive,
    /// Serve a delivery and an answer by tonic
    ServeTonic { delivery: PathBuf, answer: PathBuf },
    /// Serve a delivery by h2
    ServeH2 { delivery: PathBuf },
    /// Write the rows of activations
    Transact {
        #[arg(long)]
        url: String,
        #[arg(long)]
        clients: usize,
        #[arg(long)]
        seconds: f64,
        namespaces: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    Fanout,
    Getactive,
    Activate,
    Resync,
    Idle,
    Growth,
    Noisy,
    Checks,
    Namespaces,
    Tls,
    Reports,
    Tokens,
    Console,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(ProcessRole::Drive) => drive::run(),
        Some(ProcessRole::ServeTonic { delivery, answer }) => serve_tonic::run(&delivery, &answer),
        Some(ProcessRole::ServeH2 { delivery }) => serve_h2::run(&delivery),
        Some(ProcessRole::Transact { url, clients, seconds, namespaces }) => {
            transact::run(&url, &namespaces, clients, seconds)
        }
        None => measure(&arguments),
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    use Scenario::{
        Activate, Checks, Console, Fanout, Getactive, Growth, Idle, Namespaces, Noisy, Reports, Resync, Tls, Tokens,
    };
    let whole =
        &[Fanout, Getactive, Activate, Resync, Idle, Growth, Noisy, Checks, Namespaces, Tls, Reports, Tokens, Console];
    let all: &[Scenario] = if arguments.quick { &[Fanout] } else { whole };
    let chosen = if arguments.only.is_empty() { all } else { &arguments.only };
    let served = [Activate, Resync, Idle, Growth, Noisy, Namespaces];
    let needs_postgres = served.iter().any(|scenario| chosen.contains(scenario));
    // The harness panics with a message when PostgreSQL is absent.
    let start = || postgres::Cluster::start(&[growth::COUNTER]);
    let postgres = if needs_postgres { std::panic::catch_unwind(start).ok() } else { None };
    let version = match &postgres {
        Some(cluster) => Some(cluster.psql("postgres", "SHOW server_version")),
        None => (!needs_postgres).then(|| "not needed".to_owned()),
    };
    let mut bench = scenarios::BenchRun {
        report: report::BenchReport::new(machine::Machine::look(version)?),
        rounds: if arguments.quick { 1 } else { arguments.rounds },
        quick: arguments.quick,
        full: arguments.full,
        targets: arguments.targets.clone(),
        same_bytes: arguments.same_bytes,
        idle_seconds: arguments.idle_seconds,
        postgres,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        for scenario in chosen {
            let ended = match scenario {
                Fanout => bench.fan_out().await,
                Getactive => bench.get_active().await,
                Activate => bench.activate().await,
                Resync => bench.resync().await,
                Idle => bench.idle().await,
                Growth => bench.growth().await,
                Noisy => bench.noisy().await,
                Checks => bench.checks().await,
                Namespaces => bench.namespaces().await,
                Tls => bench.tls().await,
                Reports => bench.status_reports().await,
                Tokens => bench.subscriber_tokens().await,
                Console => bench.console().await,
            };
            // The other scenarios still run.
            if let Err(error) = ended {
                bench.report.failed(format!("{scenario:?}: {error:#}"));
            }
        }
    });
    drop(runtime);
    let is_whole = bench.report.finish(&arguments.json)?;
    anyhow::ensure!(is_whole, "some measurements failed");
    Ok(())
}
